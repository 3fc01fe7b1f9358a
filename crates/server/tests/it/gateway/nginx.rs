//! nginx asks with `auth_request`, set up as in `deploy/gateway`.

use super::raw::{bearer, request};
use super::stage::Stage;

#[tokio::test]
async fn a_request_passes_with_the_scopes_of_its_path_and_the_application_is_told_for_whom() {
    let Stage { issuer, gateway, upstream, nginx } = Stage::start().await;
    let (read, both) = (issuer.token("read", 0).await, issuer.token("read write", 0).await);

    let answer = nginx.get("/read/1?a=b%2F..", &read).await;
    assert_eq!((answer.status, answer.body.contains("application")), (200, true));
    let [reached] = &upstream.take()[..] else { panic!("one request") };
    assert_eq!(reached.line, "GET /read/1?a=b%2F..", "as it was judged");
    assert_eq!(reached.header("x-grantry-subject"), [issuer.caller.0.as_str()]);
    assert_eq!(reached.header("x-grantry-subject-kind"), ["client"]);
    assert_eq!(reached.header("x-grantry-client"), [issuer.caller.0.as_str()]);
    assert_eq!(reached.header("x-grantry-scope"), ["read"]);

    for (line, token, status) in [
        ("GET /read/admin", &both, 200),
        ("GET /read/admin", &read, 403),
        ("GET /read/administrator", &read, 200),
        ("HEAD /orders/1", &read, 200),
        ("DELETE /orders/1", &both, 403),
        ("GET /elsewhere", &both, 403),
        ("GET /", &both, 403),
        ("GET /_grantry", &both, 404),
    ] {
        let answer = request(nginx.port, line, &[&bearer(token)]).await;
        assert_eq!(answer.status, status, "{line}");
        assert_eq!(upstream.take().len(), usize::from(status == 200), "{line}");
    }

    let challenge =
        |answer: &super::raw::Answer| answer.header("www-authenticate").unwrap_or_default().to_owned();
    let answer = nginx.get("/read/admin", &read).await;
    assert!(challenge(&answer).contains(r#"error="insufficient_scope", scope="read write""#));
    let answer = nginx.get("/read", "forged").await;
    assert_eq!(answer.status, 401);
    assert!(challenge(&answer).contains(r#"error="invalid_token""#));
    let answer = request(nginx.port, "GET /read", &[]).await;
    assert_eq!((answer.status, challenge(&answer).as_str()), (401, "Bearer"));

    let answer = nginx.get("/public/fails", &read).await;
    assert_eq!((answer.status, answer.body.contains("the application failed")), (500, true), "its own");
    let metrics = gateway.metrics().await;
    assert!(metrics.contains(r#"grantry_gateway_checks_total{outcome="allowed"} 4"#), "{metrics}");
    assert!(metrics.contains(r#"grantry_gateway_checks_total{outcome="insufficient_scope"} 2"#), "{metrics}");
    for secret in [&read, &both, &issuer.caller.1] {
        assert!(!gateway.process.err().contains(secret.as_str()), "in the log");
    }
}

#[tokio::test]
async fn what_a_client_says_about_itself_does_not_reach_the_application() {
    let Stage { issuer, gateway: _gateway, upstream, nginx } = Stage::start().await;
    let token = bearer(&issuer.token("read", 0).await);
    let forged = [
        "X-Grantry-Subject: root",
        "x-grantry-subject: root2",
        "X-Grantry-Subject-Kind: user",
        "X-Grantry-Client: root",
        "X-Grantry-Scope: everything",
        // nginx drops it, and CGI would take it for the one with hyphens.
        "X_Grantry_Subject: root",
    ];
    let names = ["subject", "subject-kind", "client", "scope"].map(|name| format!("x-grantry-{name}"));

    let answer = request(nginx.port, "GET /read", &[&forged[..], &[&token]].concat()).await;
    assert_eq!(answer.status, 200);
    let [reached] = &upstream.take()[..] else { panic!("one request") };
    assert_eq!(reached.header(&names[0]), [issuer.caller.0.as_str()]);
    assert_eq!(reached.header(&names[1]), ["client"]);
    assert_eq!(reached.header(&names[3]), ["read"]);
    assert!(reached.header("x_grantry_subject").is_empty());

    for headers in [forged.to_vec(), [&forged[..], &[&token]].concat()] {
        let answer = request(nginx.port, "GET /public", &headers).await;
        assert_eq!(answer.status, 200);
        let [reached] = &upstream.take()[..] else { panic!("one request") };
        for name in &names {
            assert!(reached.header(name).is_empty(), "{name}: {reached:?}");
        }
    }

    // The gateway is told by nginx what is asked for, and by nobody else.
    let another = ["X-Original-URI: /public", "X-Original-Method: GET", "X-Forwarded-Uri: /public"];
    assert_eq!(request(nginx.port, "GET /read", &another).await.status, 401);
    let overrides =
        ["X-Original-URL: /read/admin", "X-HTTP-Method-Override: DELETE", "X-Rewrite-URL: /read/admin"];
    for header in overrides {
        assert_eq!(request(nginx.port, "GET /read", &[header, &token]).await.status, 403, "{header}");
    }
    for headers in [[token.as_str(), token.as_str()], [token.as_str(), "authorization: Bearer x"]] {
        let status = request(nginx.port, "GET /read", &headers).await.status;
        assert!([400, 401].contains(&status), "two headers: {status}");
    }
    assert_eq!(upstream.take().len(), 0);
}

#[tokio::test]
async fn a_path_that_can_be_read_in_two_ways_reaches_nobody() {
    let Stage { issuer, gateway, upstream, nginx } = Stage::start().await;
    let token = bearer(&issuer.token("read", 0).await);
    // Each of them begins with what is public, or with what the token may, and leads elsewhere for somebody.
    for target in [
        "/public/../read/admin",
        "/public/./read",
        "/public//read",
        "//read/admin",
        "/public/%2e%2e/read/admin",
        "/public/%2E%2E/read/admin",
        "/public/.%2e/read/admin",
        "/public/..%2fread/admin",
        "/public%2f..%2fread%2fadmin",
        "/public%5c..%5cread",
        "/public\\..\\read",
        "/public/%252e%252e/read/admin",
        "/public/..;/read/admin",
        "/public;/../read",
        "/read;x=y/admin",
        "/read/%61dmin;x",
        "/READ/admin",
        "/read/Admin",
        "/public/%00",
        "/public%3f/../read",
        "/public/%c0%ae%c0%ae/read",
        "/public#/../read/admin",
        "http://api.example/public/../read",
    ] {
        let answer = request(nginx.port, &format!("GET {target}"), &[&token]).await;
        // 400 is nginx's own answer to what it cannot read either.
        assert!([400, 403].contains(&answer.status), "{target}: {}", answer.status);
        let reached = upstream.take();
        assert!(reached.is_empty(), "{target}: {reached:?}");
    }
    // Encoded or not, it is the same rule.
    for (target, status) in
        [("/%72ead/%61dmin", 403), ("/%72ead/x", 200), ("/read/admin/", 403), ("/public/%41", 200)]
    {
        let answer = request(nginx.port, &format!("GET {target}"), &[&token]).await;
        assert_eq!(answer.status, status, "{target}");
    }
    assert_eq!(upstream.take().len(), 2);
    let by_query = request(nginx.port, "GET /read?access_token=x", &[&token]).await;
    assert_eq!(by_query.status, 403);
    gateway.says("the path has a dot segment").await;
    gateway.says("a token must not be in the query").await;
    let log = gateway.process.err();
    assert!(!log.contains("access_token=x"), "{log}");
    assert!(nginx.access_log().contains("403"));
}
