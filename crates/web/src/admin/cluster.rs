//! `/admin/v1/cluster`: the nodes, and how far each has followed the revocation log.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use grantry_grants::{Cluster, ClusterNode, node_text};
use serde_json::{Value, json};

use super::authorize;
use super::problem::Problem;
use crate::WebState;
use crate::respond::json_no_store;

/// `GET /admin/v1/cluster`.
pub async fn read(State(state): State<Arc<WebState>>, request: Request) -> Result<Response, Problem> {
    authorize(&state, request.headers(), request.extensions()).await?;
    Ok(json_no_store(StatusCode::OK, &cluster_json(&state.grants.cluster().await?)))
}

fn cluster_json(cluster: &Cluster) -> Value {
    let view = cluster.view.as_ref().map(|view| {
        json!({
            "epoch": view.head.epoch,
            "position": view.head.position,
            "staleness_seconds": view.staleness.as_secs_f64(),
            "max_staleness_seconds": view.max_staleness.as_secs_f64(),
        })
    });
    let nodes: Vec<Value> = cluster.nodes.iter().map(|node| node_json(node, cluster)).collect();
    json!({
        "node_id": node_text(cluster.this),
        "log": { "epoch": cluster.head.epoch, "position": cluster.head.position },
        "freshness": view,
        "nodes": nodes,
    })
}

fn node_json(ClusterNode { node, is_live }: &ClusterNode, cluster: &Cluster) -> Value {
    let behind = node
        .applied
        .filter(|seen| seen.epoch == cluster.head.epoch)
        .map(|seen| cluster.head.position.0.saturating_sub(seen.position.0));
    json!({
        "node_id": node_text(node.id),
        "node_number": node.number,
        "live": is_live,
        "last_heartbeat": node.last_heartbeat.as_secs(),
        "applied": node.applied,
        "entries_behind": behind,
    })
}
