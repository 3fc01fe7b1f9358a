//! `GET /healthz` and `GET /readyz`

use std::sync::Arc;
use std::time::Duration;

use grantry_store::{Fault, Outage, StoreError};

use crate::app::App;

#[tokio::test(start_paused = true)]
async fn readiness_follows_the_real_path_of_a_token() {
    let app = App::new().await;
    assert_eq!(app.get("/healthz").await.status, 200);
    let starting = app.get("/readyz").await;
    assert_eq!((starting.status.as_u16(), starting.header("retry-after")), (503, "1"));

    let probe = app.readiness.clone().run(Arc::clone(&app.persistence), app.store.clone());
    let probe = tokio::spawn(probe);
    // wait: the first probe runs at once; time is paused and moves when everything else is idle.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(app.get("/readyz").await.status, 200);

    app.store.fail_writes([Some(Fault::Before(StoreError::unavailable(Outage::Full, "injected")))]);
    // wait: until after the next probe.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(app.get("/readyz").await.json()["status"], "unavailable");
    // wait: until after the one that succeeds again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(app.get("/readyz").await.status, 200);

    probe.abort();
    // wait: a success that is too old says nothing.
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(app.get("/readyz").await.json()["status"], "unavailable");
    app.readiness.stop();
    assert_eq!(app.get("/readyz").await.json()["status"], "stopping");
    assert_eq!(app.get("/healthz").await.status, 200);
}
