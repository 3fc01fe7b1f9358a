//! The first administrator of a store that has none.
//!
//! 1. A store with an administrator is left alone.
//! 2. Processes of one machine that start at the same time take turns; the second finds the first one's administrator.
//!    Between machines the store decides: it takes a first administrator only while it has none.
//! 3. `GRANTRY_BOOTSTRAP_CLIENT_ID` and `..._SECRET` name the credentials. Nothing is written then.
//! 4. Else they are made, and written to the file `first-client` before the client is: a crash in between loses
//!    nothing, because the next start takes the credentials that it finds in the file.

use std::path::{Path, PathBuf};

use grantry_grants::{ClientAdminError, Grants};
use grantry_jose::base64url;
use grantry_protocol::{ClientId, Rng, Secret};
use zeroize::Zeroizing;

use crate::config::{Config, Environment, Loaded};
use crate::failure::Failure;
use crate::private_file::{self, DirectoryLock, directory_of};

const FILE: &str = "first-client";
const ID: &str = "admin";
/// As many random bytes as the secrets have that the admin API makes.
const SECRET_BYTES: usize = 32;

/// Who administers, as far as this start had to do with it.
#[derive(Debug, PartialEq, Eq)]
pub enum Administrator {
    ThereAlready,
    FromEnvironment,
    InFile(PathBuf),
}

pub struct Credentials {
    pub id: ClientId,
    pub secret: Secret,
}

/// Beside the store; for a store that is no file beside the master key.
pub fn file(config: &Config) -> PathBuf {
    let place = config.store.url.place();
    directory_of(place.file().unwrap_or(&config.keys.master_key_file)).join(FILE)
}

pub async fn administrator(
    loaded: &Loaded,
    grants: &Grants,
    rng: &dyn Rng,
) -> Result<Administrator, Failure> {
    // 1.
    if grants.has_administrator().await? {
        return Ok(Administrator::ThereAlready);
    }
    // 2.
    let path = file(&loaded.config);
    let _lock = DirectoryLock::of(&directory_of(&path))?;
    if grants.has_administrator().await? {
        return Ok(Administrator::ThereAlready);
    }
    // 3.
    if let Some(credentials) = from_environment(&loaded.environment)? {
        return match create(grants, credentials).await? {
            Created::Yes => Ok(Administrator::FromEnvironment),
            Created::ThereAlready => Ok(Administrator::ThereAlready),
            Created::IdTaken => Err(Failure::new(
                "the client that GRANTRY_BOOTSTRAP_CLIENT_ID names exists already and is no administrator; choose \
                 another id, or run: grantry admin recover",
            )),
        };
    }
    // 4.
    let credentials = match read(&path)? {
        Some(found) if is_free(grants, &found.id).await? => found,
        _ => {
            let made = make(grants, rng).await?;
            write(&path, &made.id, &made.secret)?;
            made
        }
    };
    match create(grants, credentials).await? {
        Created::Yes => Ok(Administrator::InFile(path)),
        Created::ThereAlready => {
            // Credentials of nobody, since a node of another machine was faster.
            std::fs::remove_file(&path).map_err(|error| Failure::of_file(&path, "removed", &error))?;
            Ok(Administrator::ThereAlready)
        }
        Created::IdTaken => {
            Err(Failure::new("somebody else made a client at the same time; start the server again"))
        }
    }
}

enum Created {
    Yes,
    ThereAlready,
    IdTaken,
}

async fn create(grants: &Grants, credentials: Credentials) -> Result<Created, Failure> {
    match grants.administrator_create_first(credentials.id, credentials.secret).await {
        Ok(()) => Ok(Created::Yes),
        Err(ClientAdminError::AdministratorExists) => Ok(Created::ThereAlready),
        Err(ClientAdminError::AlreadyExists) => Ok(Created::IdTaken),
        Err(error) => Err(error.into()),
    }
}

/// `None` when there is no such file.
pub fn read(path: &Path) -> Result<Option<Credentials>, Failure> {
    let Some(text) = private_file::read(path)? else { return Ok(None) };
    let pair =
        text.trim().split_once(':').and_then(|(id, secret)| Some((id.parse().ok()?, Secret::new(secret))));
    let Some((id, secret)) = pair else {
        return Err(Failure::new(format!(
            "{} does not hold an id and a secret (id:secret); remove it",
            path.display()
        )));
    };
    Ok(Some(Credentials { id, secret }))
}

pub fn write(path: &Path, id: &ClientId, secret: &Secret) -> Result<(), Failure> {
    private_file::write(path, &Zeroizing::new(format!("{id}:{}\n", secret.expose())))
}

fn from_environment(environment: &Environment) -> Result<Option<Credentials>, Failure> {
    let Some(id) = environment.get("GRANTRY_BOOTSTRAP_CLIENT_ID") else { return Ok(None) };
    let id = id.parse().map_err(|error| Failure::new(format!("GRANTRY_BOOTSTRAP_CLIENT_ID: {error}")))?;
    let secret = secret_from_environment(environment, "GRANTRY_BOOTSTRAP_CLIENT_SECRET")?;
    Ok(secret.map(|secret| Credentials { id, secret }))
}

/// The variable, or the file that its `_FILE` twin names. Such a file is somebody else's making (a container's secret,
/// mostly), so its mode is not looked at.
pub fn secret_from_environment(environment: &Environment, name: &str) -> Result<Option<Secret>, Failure> {
    if let Some(secret) = environment.get(name) {
        return Ok(Some(Secret::new(secret)));
    }
    environment.get(&format!("{name}_FILE")).map(|path| secret_from_file(Path::new(path))).transpose()
}

/// The first line of a file.
pub fn secret_from_file(path: &Path) -> Result<Secret, Failure> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| Failure::of_file(path, "read", &error))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line)),
        _ => Err(Failure::new(format!("{} holds no secret", path.display()))),
    }
}

async fn make(grants: &Grants, rng: &dyn Rng) -> Result<Credentials, Failure> {
    let mut id: ClientId = ID.parse().expect("a word is an id");
    if !is_free(grants, &id).await? {
        id = format!("{ID}-{}", random_text::<6>(rng)).parse().expect("base64url is printable ASCII");
    }
    Ok(Credentials { id, secret: Secret::new(random_text::<SECRET_BYTES>(rng)) })
}

fn random_text<const BYTES: usize>(rng: &dyn Rng) -> String {
    let mut bytes = Zeroizing::new([0; BYTES]);
    rng.fill(bytes.as_mut_slice());
    base64url(bytes.as_slice())
}

async fn is_free(grants: &Grants, id: &ClientId) -> Result<bool, Failure> {
    match grants.client_get(id).await {
        Err(ClientAdminError::NotFound) => Ok(true),
        Ok(_) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
