//! Progress on standard error: a spinner on a terminal, a line at start and end (and every 30 s between) elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{LazyLock, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
static START: OnceLock<Instant> = OnceLock::new();
const REPEAT: Duration = Duration::from_secs(30);

/// The terminal area shared by every spinner of this process; print through it to keep lines whole.
pub fn bars() -> &'static MultiProgress {
    &BARS
}

/// Whether progress is drawn on a terminal.
pub fn on_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Prints one line with the time since this process began to report progress.
pub fn line(text: &str) {
    let elapsed = START.get_or_init(Instant::now).elapsed();
    let text = format!("[{:>4}s] {text}", elapsed.as_secs());
    if on_terminal() {
        // A lost progress line is not worth failing for.
        let _ = BARS.println(text);
    } else {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

/// One piece of work that is under way; dropped without [`Task::done`] it is reported as failed.
pub struct Task {
    what: String,
    started: Instant,
    bar: Option<ProgressBar>,
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
    finished: bool,
}

/// Starts to report `what`.
pub fn task(what: impl Into<String>) -> Task {
    let what = what.into();
    START.get_or_init(Instant::now);
    let (mut bar, mut ticker) = (None, None);
    if on_terminal() {
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
            .expect("the template is a constant that parses");
        let spinner = BARS.add(ProgressBar::new_spinner().with_style(style));
        spinner.set_message(what.clone());
        spinner.enable_steady_tick(Duration::from_millis(120));
        bar = Some(spinner);
    } else {
        line(&format!("{what} ..."));
        ticker = Some(repeat(what.clone()));
    }
    Task {
        what,
        started: Instant::now(),
        bar,
        ticker,
        finished: false,
    }
}

fn repeat(what: String) -> (Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = channel();
    let started = Instant::now();
    let thread = std::thread::spawn(move || {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(REPEAT) {
            line(&format!(
                "{what} ... {} s so far",
                started.elapsed().as_secs()
            ));
        }
    });
    (stop, thread)
}

impl Task {
    /// Reports success and the time it took.
    pub fn done(mut self) {
        self.finished = true;
        self.end("done");
    }

    fn end(&mut self, how: &str) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            // The ticker only prints; that it panicked would not change the result.
            let _ = thread.join();
        }
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let seconds = self.started.elapsed().as_secs_f32();
        line(&format!("{}: {how} in {seconds:.1} s", self.what));
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.finished {
            self.end("failed");
        }
    }
}
