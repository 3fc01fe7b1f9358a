use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use super::end_of;
use crate::failure::Failure;

/// What a server under test is started with, besides its listeners and keys.
pub struct Setup {
    /// The value of `[store] url`.
    store_url: String,
    /// Further settings, as environment variables (`GRANTRY_SECTION__KEY`).
    environment: Vec<(String, String)>,
}

impl Setup {
    pub fn sqlite(database: &Path) -> Self {
        Self { store_url: format!("sqlite:{}", database.display()), environment: Vec::new() }
    }

    pub fn postgres(url: String) -> Self {
        Self { store_url: url, environment: Vec::new() }
    }

    pub fn with(mut self, settings: &[(&str, &str)]) -> Self {
        self.environment.extend(settings.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        self
    }
}

/// A configuration file and how to run the server with it.
pub struct Configured<'a> {
    program: PathBuf,
    directory: &'a Path,
    file: PathBuf,
    setup: &'a Setup,
    /// `http://host:port` of either listener.
    pub url: String,
    pub admin_url: String,
}

impl<'a> Configured<'a> {
    /// Writes the file; the server will run in `directory`, and what it makes by default is made there.
    pub fn write(program: &Path, directory: &'a Path, setup: &'a Setup) -> Result<Self, Failure> {
        let [url, admin_url] = free_ports()?.map(|port| format!("http://127.0.0.1:{port}"));
        let [listen, admin_listen] = [&url, &admin_url].map(|url| url.trim_start_matches("http://"));
        let key = quoted(&directory.join("master.key").display().to_string());
        let store = quoted(&setup.store_url);
        let text = format!(
            "[server]\nissuer = \"{url}\"\nlisten = \"{listen}\"\nadmin_listen = \"{admin_listen}\"\n\
             [store]\nurl = {store}\n[keys]\nmaster_key_file = {key}\n"
        );
        let file = directory.join("grantry.toml");
        let written = fs::write(&file, text);
        written.map_err(|error| Failure::new(format!("{} cannot be written: {error}", file.display())))?;
        let program = program.canonicalize();
        let program =
            program.map_err(|error| Failure::new(format!("the server cannot be found: {error}")))?;
        Ok(Self { program, directory, file, setup, url, admin_url })
    }

    pub fn log(&self) -> PathBuf {
        self.directory.join("grantry.log")
    }

    /// Without the settings that the caller's environment may hold: only the file and the set-up count.
    pub fn command(&self, subcommand: &str) -> Result<Command, Failure> {
        let log = self.log();
        let no_log =
            |error: std::io::Error| Failure::new(format!("{} cannot be written: {error}", log.display()));
        let out = File::create(&log).map_err(no_log)?;
        let mut command = Command::new(&self.program);
        command.current_dir(self.directory).arg("--config").arg(&self.file).arg(subcommand);
        command.stdout(out.try_clone().map_err(no_log)?).stderr(out);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GRANTRY_") {
                command.env_remove(name);
            }
        }
        command.envs(self.setup.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }
}

/// Makes the server's tables in an empty database.
pub fn migrate(program: &Path, directory: &Path, setup: &Setup) -> Result<(), Failure> {
    let configured = Configured::write(program, directory, setup)?;
    let status = configured.command("migrate")?.status();
    let status =
        status.map_err(|error| Failure::new(format!("{} does not start: {error}", program.display())))?;
    if status.success() {
        return Ok(());
    }
    let said = end_of(&configured.log());
    Err(Failure::new(format!("`grantry --config FILE migrate` ended with {status}\n{said}")))
}

/// For a configuration file in TOML, whose basic strings escape as Rust's do for the characters of a path or a URL.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// Two, held together so that they differ.
fn free_ports() -> Result<[u16; 2], Failure> {
    let bind = || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        Ok::<_, std::io::Error>((listener, port))
    };
    let both = bind().and_then(|first| Ok([first.1, bind()?.1]));
    both.map_err(|error| Failure::new(format!("no free port on 127.0.0.1: {error}")))
}
