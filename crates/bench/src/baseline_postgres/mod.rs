//! What issuing on PostgreSQL costs without an authorization server: the HTTP stack of [`crate::baseline`] that for
//! each request writes the rows that issuing writes, and answers when they are committed. Nothing is read, nobody is
//! authenticated, nothing is decided.

mod rows;
mod schema;
mod writers;

use std::{net::SocketAddr, process::ExitCode};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use clap::{Args, value_parser};

use crate::{
    baseline::{self, ANSWER, MAX_REQUEST},
    failure::Failure,
    postgres::Session,
};
use rows::Row;
pub use schema::first_id_at;
use writers::Writers;

#[derive(Args)]
pub struct BaselinePostgresArgs {
    /// A database of its own; the tables are made there if they are missing
    #[arg(long, value_name = "URL")]
    database_url: String,
    /// Connections that commit
    #[arg(long, value_name = "N", default_value = "2", value_parser = value_parser!(u16).range(1..=200))]
    writers: u16,
    /// The most rows in one transaction; 1 is a commit a token
    #[arg(long, value_name = "N", default_value = "1024", value_parser = value_parser!(u16).range(1..=4096))]
    max_batch: u16,
    /// Where to listen; port 0 takes a free one, and the address is printed
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: SocketAddr,
}

/// Serves until it is stopped.
pub async fn run(args: &BaselinePostgresArgs) -> Result<ExitCode, Failure> {
    schema::create_if_missing(&Session::open(&args.database_url).await?).await?;
    let writers = Writers::start(&args.database_url, args.writers.into(), args.max_batch.into()).await?;
    let router = Router::new()
        .route("/oauth2/token", post(issue))
        .fallback(async || baseline::json(ANSWER))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(writers);
    baseline::serve_at(args.listen, router).await
}

async fn issue(State(writers): State<Writers>, request: Bytes) -> Response {
    if writers.write(Row::of_request(&request)).await {
        baseline::json(ANSWER).into_response()
    } else {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::Postgres;

    #[tokio::test]
    async fn every_acknowledged_row_is_there() {
        let server = Postgres::start(&std::env::temp_dir()).await.unwrap();
        let session = server.create_database("baseline").await.unwrap();
        schema::create_if_missing(&session).await.unwrap();
        schema::create_if_missing(&session).await.unwrap();
        for (round, max_batch) in [1, 64].into_iter().enumerate() {
            let writers = Writers::start(&server.url("baseline"), 2, max_batch).await.unwrap();
            let mut callers = tokio::task::JoinSet::new();
            for number in 0..100 {
                let writers = writers.clone();
                let request = format!("{round} {number}");
                callers.spawn(async move { writers.write(Row::of_request(request.as_bytes())).await });
            }
            assert!(callers.join_all().await.into_iter().all(|committed| committed));
        }
        assert_eq!(session.count("tokens").await.unwrap(), 200);
        assert_eq!(session.count("slots").await.unwrap(), 200);
        let same = Writers::start(&server.url("baseline"), 1, 1).await.unwrap();
        assert!(!same.write(Row::of_request(b"0 0")).await, "a slot that is taken is no committed row");
    }
}
