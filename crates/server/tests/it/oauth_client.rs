//! A client that knows nothing of us: the `oauth2` crate, against the standards.

use std::future::Future;
use std::pin::Pin;

use oauth2::basic::BasicClient;
use oauth2::{
    AccessToken, AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, IntrospectionUrl, RefreshToken,
    RequestTokenError, RevocationUrl, Scope, StandardRevocableToken, TokenIntrospectionResponse,
    TokenResponse, TokenUrl,
};
use reqwest::Client;

use crate::home::{Home, ISSUER};
use crate::soak::grants::Refreshers;
use crate::test_server::TestServer;

/// The crate's own adapter is for an older reqwest.
fn over(
    http: Client,
) -> impl Fn(HttpRequest) -> Pin<Box<dyn Future<Output = Result<HttpResponse, reqwest::Error>> + Send>> {
    move |request| {
        let http = http.clone();
        Box::pin(async move {
            let answer = http.execute(request.try_into()?).await?;
            let mut response = http::Response::new(Vec::new());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            *response.body_mut() = answer.bytes().await?.to_vec();
            Ok(response)
        })
    }
}

#[tokio::test]
async fn a_standard_client_gets_introspects_and_revokes_a_token() {
    let home = Home::new();
    let server = home.start().await;
    let registered = server.plain_client(&home.first_client()).await;
    let url = |path: &str| format!("{}{path}", server.url);
    let client = BasicClient::new(ClientId::new(registered.0.clone()))
        .set_client_secret(ClientSecret::new(registered.1.clone()))
        .set_auth_type(AuthType::BasicAuth)
        .set_token_uri(TokenUrl::new(url("/oauth2/token")).unwrap())
        .set_introspection_url(IntrospectionUrl::new(url("/oauth2/introspect")).unwrap())
        // The crate insists on https for revocation, which loopback does without.
        .set_revocation_url(RevocationUrl::new(url("/oauth2/revoke")).unwrap());
    let http = over(server.http.clone());

    let response = client
        .exchange_client_credentials()
        .add_scope(Scope::new("read".to_owned()))
        .request_async(&http)
        .await
        .unwrap();
    assert_eq!(response.token_type(), &oauth2::basic::BasicTokenType::Bearer);
    assert!((3595..=3600).contains(&response.expires_in().unwrap().as_secs()));
    let token: &AccessToken = response.access_token();

    let known = client.introspect(token).request_async(&http).await.unwrap();
    assert!(known.active());
    assert_eq!(known.client_id().unwrap().as_str(), registered.0);
    assert_eq!(known.scopes().unwrap(), &vec![Scope::new("read".to_owned())]);
    assert_eq!(known.iss(), Some(ISSUER));

    let refused = client
        .exchange_client_credentials()
        .add_scope(Scope::new("everything".to_owned()))
        .request_async(&http)
        .await
        .unwrap_err();
    let RequestTokenError::ServerResponse(refused) = refused else { panic!("{refused:?}") };
    assert_eq!(refused.error(), &oauth2::basic::BasicErrorResponseType::InvalidScope);

    match client.revoke_token(StandardRevocableToken::AccessToken(token.clone())) {
        Ok(request) => request.request_async(&http).await.unwrap(),
        Err(insists) => {
            assert!(insists.to_string().contains("HTTPS"), "{insists}");
            let answer = server
                .post("/oauth2/revoke", &registered, &[("token", token.secret())])
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 200);
        }
    }
    assert!(!client.introspect(token).request_async(&http).await.unwrap().active());
}

/// Access and refresh token after a refresh, as the crate understands the answer.
async fn refresh(server: &TestServer, of: &Refreshers, token: &str, scope: &str) -> (String, String) {
    let (id, secret) = of.credentials.clone();
    let client = BasicClient::new(ClientId::new(id))
        .set_client_secret(ClientSecret::new(secret))
        .set_auth_type(AuthType::BasicAuth)
        .set_token_uri(TokenUrl::new(format!("{}/oauth2/token", server.url)).unwrap());
    let response = client
        .exchange_refresh_token(&RefreshToken::new(token.to_owned()))
        .add_scope(Scope::new(scope.to_owned()))
        .request_async(&over(server.http.clone()))
        .await
        .unwrap();
    assert!((3590..=3600).contains(&response.expires_in().unwrap().as_secs()));
    let next = response.refresh_token().unwrap().secret().clone();
    (response.access_token().secret().clone(), next)
}

#[tokio::test]
async fn a_standard_client_refreshes_and_a_crash_between_request_and_retry_costs_nothing() {
    let home = Home::new();
    let mut server = home.start().await;
    let client = Refreshers::register(&home, &server).await;
    let first = client.grant(&server, "alice").await;

    let (access, second) = refresh(&server, &client, &first.refresh, "read").await;
    assert_ne!(second, first.refresh);
    let known = server.introspect(&client.credentials, &access).await;
    assert_eq!(
        (&known["active"], &known["sub"], &known["scope"]),
        (&true.into(), &"alice".into(), &"read".into())
    );
    assert!(server.is_active(&client.credentials, &first.access).await, "a refresh ends no access token");

    // The client never saw that answer, and the server is gone before it asks again.
    server.process.kill();
    let server = home.start().await;
    assert_eq!(refresh(&server, &client, &first.refresh, "read").await, (access, second.clone()));
    let (_, third) = refresh(&server, &client, &second, "read write").await;
    assert_ne!(third, second);
}
