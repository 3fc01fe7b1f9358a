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
    let nodes = cluster["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<[String; 5]> = nodes.iter().map(row).collect();
    print::table(["NODE", "NUMBER", "LIVE", "APPLIED", "BEHIND"], &rows);
    Ok(())
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
