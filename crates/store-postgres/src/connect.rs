use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::error::Severity;
use tokio_postgres::tls::TlsStream;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Socket};

use crate::connect_url;
use crate::errors::{Error, Result};
use crate::link::{Link, Made};
use crate::open_error::OpenError;
use crate::options::PostgresOptions;
use crate::statement::Statement;
use crate::tls::{Stream, Tls};

/// A connection, and what has to be polled for it to do anything.
pub type Dialled = (Client, Connection<Socket, Stream<Socket>>);

/// Makes links to one place.
pub struct Connector {
    config: Config,
    tls: Tls,
    prepared: bool,
    /// Prepared on each link as it is made.
    statements: &'static [&'static Statement],
    settings: Vec<(&'static str, String)>,
    /// How long connecting may take where nobody has a deadline.
    pub patience: Duration,
    /// Hosts, ports and database, for messages.
    pub server: String,
    /// Raised when what a link met concerns all that were made before, whichever pool has them.
    generation: AtomicU64,
}

impl Connector {
    pub fn new(
        url: &str,
        options: &PostgresOptions,
        statements: &'static [&'static Statement],
    ) -> std::result::Result<Self, OpenError> {
        let mut target = connect_url::parse(url)?;
        let tls = Tls::new(&target.tls)?;
        let config = &mut target.config;
        config
            .ssl_mode(if tls.is_on() { SslMode::Require } else { SslMode::Disable })
            .application_name(&options.application_name)
            .connect_timeout(options.connect_timeout)
            // Of several hosts the one that takes writes; after a failover that is another one.
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            // A peer that has vanished is noticed even while nobody waits for it.
            .tcp_user_timeout(options.busy_timeout * 2)
            .keepalives_idle(Duration::from_secs(15))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        Ok(Self {
            config: target.config,
            tls,
            prepared: options.prepared,
            statements,
            settings: settings(options),
            patience: options.busy_timeout,
            server: target.server,
            generation: AtomicU64::new(0),
        })
    }

    /// Of the links that are made now.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// No link from before this call is used again.
    pub fn renew(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// For the schema: statements may take as long as they need, and a transaction may wait for another link. Locks are
    /// waited for as briefly as ever, since whoever waits for one blocks everybody behind.
    pub fn for_schema(url: &str, options: &PostgresOptions) -> std::result::Result<Self, OpenError> {
        let mut connector = Self::new(url, options, &[])?;
        for (name, value) in &mut connector.settings {
            if ["statement_timeout", "idle_in_transaction_session_timeout"].contains(name) {
                *value = "0".into();
            }
        }
        Ok(connector)
    }

    /// A link that is set up, within `patience`; what is sent over it has to be answered within what is left of it.
    pub async fn connect(&self, deadline: Instant, patience: Duration) -> Result<Link> {
        let (client, connection) = self.dial(deadline, patience).await?;
        let (driver, warnings) = drive(connection);
        let mut link = Link::new(self.made(client, driver, warnings), patience);
        link.allow_until(deadline, patience);
        if self.prepared {
            let settings = self.session_settings();
            let (set, prepared) =
                tokio::join!(biased; link.batch(&settings), link.prepare_all(self.statements));
            set.and(prepared)?;
        }
        Ok(link)
    }

    /// A connection without anything set up, within `patience`.
    pub async fn dial(&self, deadline: Instant, patience: Duration) -> Result<Dialled> {
        let connecting = timeout_at(deadline, self.config.connect(self.tls.clone())).await;
        Ok(connecting.map_err(|_| Error::no_answer(patience))??)
    }

    fn made(&self, client: Client, driver: AbortHandle, warnings: Arc<AtomicU64>) -> Made {
        let settings = if self.prepared { String::new() } else { self.transaction_settings() };
        Made { client, driver, tls: self.tls.clone(), warnings, prepared: self.prepared, settings }
    }

    fn session_settings(&self) -> String {
        self.settings.iter().map(|(name, value)| format!("SET {name} = {value};")).collect()
    }

    fn transaction_settings(&self) -> String {
        self.settings.iter().map(|(name, value)| format!("; SET LOCAL {name} = {value}")).collect()
    }
}

/// What our statements want to run under, whatever the server's defaults.
fn settings(options: &PostgresOptions) -> Vec<(&'static str, String)> {
    let millis = |span: Duration| span.as_millis().max(1).to_string();
    vec![
        // Each statement has one good plan, whatever its values, and planning costs more than running it.
        ("plan_cache_mode", "force_generic_plan".into()),
        // A table without statistics looks small, and a plan made then would walk through it when it has grown.
        ("enable_seqscan", "off".into()),
        // Compiling takes longer than any statement of ours.
        ("jit", "off".into()),
        ("statement_timeout", millis(options.statement_timeout)),
        ("lock_timeout", millis(options.lock_timeout)),
        // The rows that a node has locked are free again when it hangs.
        ("idle_in_transaction_session_timeout", millis(options.busy_timeout)),
    ]
}

/// Runs the connection until it ends; counts the server's warnings.
fn drive<T>(mut connection: Connection<Socket, T>) -> (AbortHandle, Arc<AtomicU64>)
where
    T: TlsStream + Unpin + Send + 'static,
{
    let warnings = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&warnings);
    let driver = tokio::spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) => {
                    if notice.parsed_severity() == Some(Severity::Warning) {
                        counted.fetch_add(1, Ordering::Release);
                    }
                    tracing::debug!(code = notice.code().code(), "PostgreSQL: {}", notice.message());
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!("a connection to PostgreSQL ended: {}", Error::from(error));
                    return;
                }
            }
        }
    });
    (driver.abort_handle(), warnings)
}
