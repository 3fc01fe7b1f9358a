use std::path::Path;

use crate::cli::ConfigCommand;
use crate::commands::{print, settings};
use crate::config::{reference, show};
use crate::failure::Failure;

pub fn run(file: Option<&Path>, command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check => {
            let loaded = settings(file)?;
            let place = loaded
                .file
                .as_ref()
                .map_or("no configuration file".into(), |path| path.display().to_string());
            print::line(format_args!("{place}: the settings can be used"));
        }
        ConfigCommand::Show => print::line(show(&settings(file)?).trim_end()),
        // Without the settings: what explains them must not need them to be right.
        ConfigCommand::Reference => print::line(reference().trim_end()),
    }
    Ok(())
}
