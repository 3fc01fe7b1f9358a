//! `/admin/v1/cluster`: the nodes, how far each has followed the revocation log, and who has what is committed.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use grantry_grants::{Cluster, ClusterNode, ReplicationMode, ReplicationState, Standby, node_text};
use serde_json::{Value, json};

use super::authorize;
use super::problem::Problem;
use crate::WebState;
use crate::respond::json_no_store;

/// `GET /admin/v1/cluster`.
pub async fn read(State(state): State<Arc<WebState>>, request: Request) -> Result<Response, Problem> {
    authorize(&state, request.headers(), request.extensions()).await?;
    let (cluster, replication) = tokio::try_join!(state.grants.cluster(), state.grants.replication())?;
    let mut json = cluster_json(&cluster);
    json["replication"] = replication.as_ref().map(replication_json).into();
    Ok(json_no_store(StatusCode::OK, &json))
}

fn replication_json(replication: &ReplicationState) -> Value {
    let (mode, required) = match replication.mode {
        ReplicationMode::Single => ("none", None),
        ReplicationMode::Synchronous { required } => ("synchronous", Some(required)),
        ReplicationMode::Asynchronous => ("asynchronous", None),
    };
    json!({
        "mode": mode,
        "summary": replication.to_string(),
        "required": required,
        "synchronous": replication.synchronous(),
        "standbys": replication.standbys.iter().map(standby_json).collect::<Vec<_>>(),
        "warnings": replication.warnings,
    })
}

fn standby_json(standby: &Standby) -> Value {
    json!({
        "name": standby.name,
        "state": standby.state,
        "synchronous": standby.is_synchronous,
        "replay_lag_seconds": standby.replay_lag.map(|lag| lag.as_secs_f64()),
    })
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
    let caches: Vec<Value> = cluster
        .caches
        .iter()
        .map(|cache| json!({ "name": cache.name, "size": cache.size, "capacity": cache.capacity }))
        .collect();
    let data_space = cluster.data_space.as_ref().map(|space| {
        json!({
            "failure": space.failure,
            "replicas_wanted": space.replicas.map(|replicas| replicas.wanted),
            "replicas_achieved": space.replicas.map(|replicas| replicas.achieved),
        })
    });
    let nodes: Vec<Value> = cluster.nodes.iter().map(|node| node_json(node, cluster)).collect();
    json!({
        "node_id": node_text(cluster.this),
        "log": { "epoch": cluster.head.epoch, "position": cluster.head.position },
        "freshness": view,
        "caches": caches,
        "data_space": data_space,
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
