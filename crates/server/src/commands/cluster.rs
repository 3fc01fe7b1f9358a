use serde_json::Value;

use crate::cli::{Access, ClusterCommand, Output};
use crate::commands::desk::Desk;
use crate::commands::print;
use crate::config::Loaded;
use crate::failure::Failure;
use crate::offline;

pub fn run(loaded: &Loaded, command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Status { output, access } => offline::run(Box::pin(status(loaded, output, &access))),
    }
}

async fn status(loaded: &Loaded, output: Output, access: &Access) -> Result<(), Failure> {
    let cluster = Desk::open(loaded, access).await?.cluster().await?;
    if output.json {
        print::json(&cluster);
        return Ok(());
    }
    let (log, freshness) = (&cluster["log"], &cluster["freshness"]);
    print::line(format_args!("the revocation log ends at {} in epoch {}", log["position"], log["epoch"]));
    if let (Some(now), Some(most)) =
        (freshness["staleness_seconds"].as_f64(), freshness["max_staleness_seconds"].as_f64())
    {
        print::line(format_args!(
            "{} proved {now:.3} s ago that it knows all of it; it may go on for {most} s",
            cluster["node_id"].as_str().unwrap_or_default()
        ));
    }
    say_replication(&cluster["replication"]);
    say_data_space(&cluster["data_space"]);
    say_caches(&cluster["caches"]);
    let nodes = cluster["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<[String; 5]> = nodes.iter().map(row).collect();
    print::table(["NODE", "NUMBER", "LIVE", "APPLIED", "BEHIND"], &rows);
    Ok(())
}

/// Nothing of a store that is one process or one file.
fn say_replication(replication: &Value) {
    let Some(summary) = replication["summary"].as_str() else { return };
    print::line(format_args!("the store is replicated so: {summary}"));
    for standby in replication["standbys"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let text = |field: &str| standby[field].as_str().unwrap_or("-").to_owned();
        let kind = match standby["synchronous"].as_bool() {
            Some(true) => "synchronous",
            Some(false) => "asynchronous",
            None => "-",
        };
        let lag = standby["replay_lag_seconds"]
            .as_f64()
            .map_or_else(String::new, |lag| format!(", {lag:.3} s behind"));
        print::line(format_args!("  {} {} ({kind}{lag})", text("name"), text("state")));
    }
    for warning in replication["warnings"].as_array().map(Vec::as_slice).unwrap_or_default() {
        print::line(format_args!("  warning: {}", warning.as_str().unwrap_or_default()));
    }
}

/// Nothing where there is none.
fn say_data_space(data_space: &Value) {
    if data_space.is_null() {
        return;
    }
    let replicas = match (&data_space["replicas_achieved"], &data_space["replicas_wanted"]) {
        (Value::Null, _) | (_, Value::Null) => String::new(),
        (achieved, wanted) => format!(", replication {achieved} of {wanted}"),
    };
    match data_space["failure"].as_str() {
        None => print::line(format_args!("data space: in use{replicas}")),
        Some(failure) => print::line(format_args!("data space: left out{replicas}: {failure}")),
    }
}

/// Of the node that is asked.
fn say_caches(caches: &Value) {
    let caches = caches.as_array().map(Vec::as_slice).unwrap_or_default();
    let shown: Vec<String> = caches
        .iter()
        .map(|cache| {
            format!(
                "{} {} of {}",
                cache["name"].as_str().unwrap_or_default(),
                cache["size"],
                cache["capacity"]
            )
        })
        .collect();
    if !shown.is_empty() {
        print::line(format_args!("its near caches have copies of: {}", shown.join(", ")));
    }
}

fn row(node: &Value) -> [String; 5] {
    let number = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
    [
        node["node_id"].as_str().unwrap_or_default().to_owned(),
        number(&node["node_number"]),
        if node["live"] == true { "yes" } else { "no" }.to_owned(),
        number(&node["applied"]["position"]),
        number(&node["entries_behind"]),
    ]
}
