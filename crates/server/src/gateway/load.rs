//! Reads the settings of the gateway.
//!
//! 1. The file: `--config`, else `gateway.toml` in the working directory if it is there. Every key in it has to exist.
//! 2. The environment: `GRANTRY_GATEWAY__KEY` goes before the file.
//! 3. Secrets come from the files that their twins name.
//! 4. No two settings may contradict each other, and every rule has to be one ([`super::check`]).

use std::path::{Path, PathBuf};

use super::check::check;
use super::rules::Rules;
use super::settings::{Gateway, GatewayConfig, Login};
use crate::config::{Environment, Password, Problems, Program, Reading};

const IMPLIED_FILE: &str = "gateway.toml";

/// Settings that can be used.
pub struct LoadedGateway {
    pub gateway: Gateway,
    pub rules: Rules,
    pub file: Option<PathBuf>,
}

/// # Errors
/// All problems at once; those of a later step only if the earlier ones found none.
pub fn load(named: Option<&Path>, environment: &Environment) -> Result<LoadedGateway, Problems> {
    let implied = || Some(PathBuf::from(IMPLIED_FILE)).filter(|path| path.exists());
    let file = named.map(Path::to_owned).or_else(implied);
    // 1. 2.
    let read = Reading::of::<GatewayConfig>(Program::Gateway, file.as_deref(), environment);
    let (GatewayConfig { mut gateway }, mut reading) = read?;
    // 3.
    read_secret(&mut reading, "gateway.feed", &mut gateway.feed);
    read_secret(&mut reading, "gateway.introspection", &mut gateway.introspection);
    reading.no_problems()?;
    // 4.
    let rules = check(&gateway, &reading.origins).map_err(Problems)?;
    Ok(LoadedGateway { gateway, rules, file })
}

fn read_secret(reading: &mut Reading, section: &str, login: &mut Login) {
    let key = format!("{section}.client_secret");
    if let Some(secret) = reading.read_twin(&key, login.client_secret_file.as_deref(), "secret") {
        login.client_secret = Some(Password::new(secret.trim()));
    }
}
