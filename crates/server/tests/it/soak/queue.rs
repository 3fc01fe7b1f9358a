//! What waits for its row at a node, as the node itself says.

use serde_json::Value;

use crate::test_server::TestServer;
use crate::wait;

/// `bearer`: with the scope of administrators.
pub async fn state(node: &TestServer, bearer: &str) -> Value {
    let request = node.http.get(format!("{}/admin/v1/persistence", node.admin_url)).bearer_auth(bearer);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

/// Until every token that was answered has its row.
pub async fn wait_for_drain(node: &TestServer, bearer: &str) {
    wait::until("the queue is drained", async || {
        let state = state(node, bearer).await;
        assert_eq!(state["parked"], 0, "a token was parked");
        (state["queue_depth"] == 0).then_some(())
    })
    .await;
}
