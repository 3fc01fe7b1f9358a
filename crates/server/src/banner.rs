//! What the server says on standard output once it can be reached.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use grantry_protocol::PersistenceMode;
use grantry_store::ReplicationState;

use crate::config::{Loaded, Place, TokenPersistence};
use crate::first_start::Administrator;

pub struct Banner<'a> {
    pub loaded: &'a Loaded,
    pub administrator: Administrator,
    /// Of the store; absent where there is nothing to say.
    pub replication: Option<ReplicationState>,
    /// In force: it may have been changed at run time since the file was written.
    pub mode: PersistenceMode,
    pub issuer: String,
    pub public: SocketAddr,
    pub admin: SocketAddr,
}

impl Banner<'_> {
    /// A server runs as well where nobody reads what it says.
    pub fn print(&self) {
        let _ = writeln!(std::io::stdout(), "{}", self.text());
    }

    fn text(&self) -> String {
        let config = &self.loaded.config;
        let scheme = config.server.scheme();
        let settings = self.loaded.file.as_ref().map_or("defaults".into(), |path| path.to_string_lossy());
        let replication = self.replication.as_ref();
        let replicas = replication.map(|state| format!("replicas  {state}\n  ")).unwrap_or_default();
        let mut text = format!(
            "Grantry {}\n  public    {scheme}://{}\n  admin     {scheme}://{}\n  issuer    {}\n  store     {}\n  \
             {replicas}tokens    {}\n  settings  {settings}\n",
            env!("CARGO_PKG_VERSION"),
            self.public,
            self.admin,
            self.issuer,
            config.store.url,
            tokens(self.mode, &config.token_persistence),
        );
        let warnings = replication.map(|state| state.warnings.as_slice()).unwrap_or_default();
        for risk in config.risks().chain(warnings.iter().cloned()) {
            let _ = write!(text, "\n{risk}.\n");
        }
        if config.store.url.place() == Place::Memory {
            text.push_str(&match &config.store.clients_file {
                None => {
                    "\nNOTHING IS KEPT: with memory: every token, client and key goes with this process.\n"
                        .to_owned()
                }
                Some(file) => format!(
                    "\nONLY CLIENTS ARE KEPT, in {}: with memory: every token goes with this process.\n",
                    file.display()
                ),
            });
        }
        if config.server.behind_tls_proxy && config.server.trusted_proxies.is_empty() {
            text.push_str(
                "\nserver.trusted_proxies is empty: every caller seems to come from the proxy, so the failed attempts of \
                 one count against all.\n",
            );
        }
        self.say_who_administers(&mut text);
        text
    }

    fn say_who_administers(&self, text: &mut String) {
        let config = &self.loaded.config;
        let file = match &self.administrator {
            Administrator::ThereAlready => return,
            Administrator::FromEnvironment => {
                text.push_str(
                    "\nThis store had no administrator; the client of GRANTRY_BOOTSTRAP_CLIENT_ID is one now.\n",
                );
                return;
            }
            Administrator::InFile(file) => file,
        };
        let _ = write!(
            text,
            "\nThis store had no administrator; one was made. Its client id and secret stand in {}.\n\
             Keep that file to yourself, and try:\n\n  {}\n",
            file.display(),
            self.curl(file)
        );
        if self.loaded.environment.get("GRANTRY_MASTER_KEY").is_none() {
            let key = config.keys.master_key_file.display();
            let _ = write!(text, "\nThe master key is {key}. Back it up, but not beside the store.\n");
        }
    }

    /// Can be pasted as it is.
    fn curl(&self, file: &Path) -> String {
        let server = &self.loaded.config.server;
        let trust = match &server.tls_cert {
            Some(cert) => format!("--cacert {} ", quoted(cert)),
            None => String::new(),
        };
        let url = match &server.tls_cert {
            Some(_) => self.issuer.clone(),
            None => server.local_url(self.public),
        };
        format!(
            "curl -s {trust}-u \"$(cat {})\" -d grant_type=client_credentials {url}/oauth2/token",
            quoted(file)
        )
    }
}

/// What an answer waits for.
fn tokens(mode: PersistenceMode, setting: &TokenPersistence) -> String {
    let (writers, journal) = (setting.pool_size, setting.journal.as_str());
    match (mode, setting.journal_options()) {
        (PersistenceMode::None, _) => {
            "none: not stored; they say everything themselves, and only what ends them early is written"
                .to_owned()
        }
        (PersistenceMode::Sync, _) => "sync: in the store before the answer".to_owned(),
        (PersistenceMode::Async, Some(_)) => format!(
            "async: in the journal {} ({journal}) before the answer, then {writers} writers",
            setting.journal_dir.display()
        ),
        (PersistenceMode::Async, None) => {
            format!("async: in memory alone before the answer, then {writers} writers")
        }
    }
}

/// As a shell takes it for one word.
fn quoted(path: &Path) -> Cow<'_, str> {
    let text = path.to_string_lossy();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%".contains(&byte);
    if text.bytes().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_to_the_shell() {
        assert_eq!(quoted(Path::new("grantry-data/first-client")), "grantry-data/first-client");
        assert_eq!(quoted(Path::new("it's mine/x")), r"'it'\''s mine/x'");
    }
}
