//! Logs on standard error, metrics for `/metrics`.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use grantry_web::{RequestName, current_request};
use metrics::{describe_counter, describe_gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};
use tokio::task::JoinHandle;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{Log, LogFormat};
use crate::failure::Failure;

/// From a commit in memory to a store that hangs, in seconds.
const SECONDS: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];
/// How often the exporter folds what was recorded into its histograms, so that they stay small unasked.
const UPKEEP: Duration = Duration::from_secs(5);

/// What `/metrics` answers.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Writes logs from here on. A second call, as in tests, changes nothing.
pub fn start_logging(log: &Log) {
    let filter = EnvFilter::new(&log.level);
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        // Such an error would go to standard error, where the log goes that cannot be written.
        .log_internal_errors(false);
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let _ = if json {
        builder.json().flatten_event(true).map_event_format(NamesRequest).try_init()
    } else {
        builder.map_fmt_fields(NamesRequest).try_init()
    };
}

/// Adds which request is being answered to what is logged meanwhile.
struct NamesRequest<F>(F);

/// To a line of JSON, as its last members.
impl<S, N, F> FormatEvent<S, N> for NamesRequest<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(RequestName { id, method }) = current_request() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_suffix("}\n") {
            Some(object) => {
                writeln!(writer, r#"{object},"request":{{"id":"{id}","method":"{method}"}}}}"#)
            }
            None => writer.write_str(&line),
        }
    }
}

/// To a line for people, after the event's own fields.
impl<'w, F: for<'a> FormatFields<'a>> FormatFields<'w> for NamesRequest<F> {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        self.0.format_fields(writer.by_ref(), fields)?;
        match current_request() {
            Some(RequestName { id, method }) => write!(writer, " request.id={id} request.method={method}"),
            None => Ok(()),
        }
    }
}

/// Must come before anything that makes a metric. Called inside the runtime.
pub fn start_metrics() -> Result<(RenderMetrics, JoinHandle<()>), Failure> {
    let refused = |error: BuildError| Failure::new(format!("the metrics cannot be set up: {error}"));
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), SIZES))
        .map_err(refused)?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)
        .map_err(|_| Failure::new("the metrics cannot be set up: somebody else has done so"))?;
    describe_gauge!("grantry_connections", "Open connections; limits.max_connections is the bound.");
    describe_counter!(
        "grantry_accept_errors_total",
        "Connections that could not be accepted; the log says why."
    );
    describe_counter!("grantry_tls_handshake_failures_total", "TLS handshakes that failed or took too long.");
    describe_counter!(
        "grantry_tls_reloads_total",
        "Changes of the certificate that were taken over or refused."
    );
    describe_gauge!(
        "grantry_persistence_queue_depth",
        "Tokens that were answered and wait for their row; token_persistence.queue_capacity is the bound."
    );
    describe_gauge!("grantry_persistence_lag_seconds", "Age of the oldest token that waits for its row.");
    describe_gauge!(
        "grantry_persistence_tokens_at_risk",
        "Tokens that would be lost with this machine: those that wait and those that are parked."
    );
    describe_gauge!(
        "grantry_persistence_parked",
        "Tokens that the store has refused; grantry journal redrive tries them again."
    );
    describe_counter!(
        "grantry_deferrals_refused_total",
        "Tokens that were committed before the answer although their mode is async, and why."
    );
    describe_counter!(
        "grantry_settlements_total",
        "Rows of tokens that were answered before, by what became of them."
    );
    describe_counter!("grantry_status_lists_made_total", "Status lists that were read and signed.");
    describe_gauge!("grantry_status_list_bytes", "The size of the status list that was made last.");
    describe_counter!(
        "grantry_status_indexes_reserved_total",
        "Places in status lists that this node has set aside for tokens."
    );
    describe_gauge!("grantry_outbound_running_requests", "Requests of the server's own that are under way.");
    describe_counter!(
        "grantry_outbound_requests_total",
        "Requests of the server's own: fetched, failed, or refused because of where they would have gone."
    );
    let upkeep = handle.clone();
    let task = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok((Arc::new(move || handle.render()), task))
}
