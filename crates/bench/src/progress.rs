use std::{
    io::IsTerminal as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{clock, tally::Tally};

const TICK: Duration = Duration::from_millis(200);

/// A bar on standard error; hidden when that is no terminal.
pub fn bar(length: u64, quiet: bool, template: &str) -> ProgressBar {
    let hidden = quiet || !std::io::stderr().is_terminal();
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(length), target).with_style(style)
}

/// Moves with the time that a run takes; never returns.
pub async fn follow(quiet: bool, whole: Duration, tally: Arc<Mutex<Tally>>) {
    let bar = bar(whole.as_millis() as u64, quiet, "{bar:40} {percent:>3} % {msg}");
    if bar.is_hidden() {
        return std::future::pending().await;
    }
    let start = clock::now();
    loop {
        tokio::time::sleep(TICK).await;
        bar.set_position(start.elapsed().as_millis() as u64);
        let (right, wrong) = {
            let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            (tally.right, tally.wrong_total())
        };
        bar.set_message(format!("{right} answers, {wrong} errors"));
    }
}
