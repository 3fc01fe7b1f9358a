use std::path::PathBuf;

use grantry_protocol::ClientId;

use crate::cli::AdminCommand;
use crate::commands::print;
use crate::config::Loaded;
use crate::failure::Failure;
use crate::private_file::{DirectoryLock, directory_of};
use crate::{first_start, offline};

pub fn run(loaded: &Loaded, command: AdminCommand) -> Result<(), Failure> {
    let AdminCommand::Recover { client_id, output } = command;
    let path = output.unwrap_or_else(|| first_start::file(&loaded.config));
    offline::run(recover(loaded, client_id, path))
}

async fn recover(loaded: &Loaded, client_id: ClientId, path: PathBuf) -> Result<(), Failure> {
    let grants = offline::grants(loaded).await?;
    // Held from before the secret exists: where it cannot be written, it is not made.
    let _lock = DirectoryLock::of(&directory_of(&path))?;
    let recovered = grants.administrator_recover(Some(client_id), None).await?;
    let secret =
        recovered.secret.ok_or_else(|| Failure::new("the client was given no secret; please report this"))?;
    first_start::write(&path, &recovered.client.id, &secret)?;
    print::line(format_args!(
        "{} is an administrator with a new secret; id and secret (id:secret) stand in {}",
        recovered.client.id,
        path.display()
    ));
    Ok(())
}
