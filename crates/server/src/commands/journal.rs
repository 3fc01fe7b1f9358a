use std::path::Path;

use crate::cli::{Access, JournalCommand, Output};
use crate::commands::desk::Desk;
use crate::commands::{journal_drain, journal_inspect, print, settings};
use crate::config::Loaded;
use crate::failure::Failure;
use crate::offline;

pub fn run(file: Option<&Path>, command: JournalCommand) -> Result<(), Failure> {
    match command {
        // Of a journal alone, wherever it has been copied to.
        JournalCommand::Inspect { directory, records, output } => {
            journal_inspect::run(&directory, records, output)
        }
        JournalCommand::Drain { directory, yes, output } => {
            journal_drain::run(&settings(file)?, &directory, yes, output)
        }
        JournalCommand::Redrive { output, access } => {
            offline::run(Box::pin(redrive(&settings(file)?, output, &access)))
        }
    }
}

async fn redrive(loaded: &Loaded, output: Output, access: &Access) -> Result<(), Failure> {
    let answer = Desk::open(loaded, access).await?.persistence_redrive().await?;
    if output.json {
        print::json(&answer);
        return Ok(());
    }
    match answer["redriven"].as_u64() {
        Some(0) => print::line("nothing is parked"),
        count => print::line(format_args!(
            "{} tokens are tried again; /admin/v1/persistence and the log tell what became of them",
            count.unwrap_or_default()
        )),
    }
    Ok(())
}
