//! A program that runs to its end, or is ended: asked first, so that it can leave what it works on as it should, and then
//! made to.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use crate::Tenure;

/// How long a program has to end once it was asked to. The lease of a leader that was deposed outlasts this.
pub const ASKED: Duration = Duration::from_secs(3);
/// One whose time has been over for longer than this is not asked any more: another may already act.
const LATE: Duration = Duration::from_secs(1);

/// How a program ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// By itself.
    ByItself(Output),
    /// It took too long.
    TooLate,
    /// This process may not act any longer.
    Deposed,
}

/// Runs a program for no longer than `limit`, and no longer than `tenure`. When this returns, it runs no more.
pub(super) async fn run(
    mut command: Command,
    limit: Duration,
    tenure: &Tenure,
) -> io::Result<Ended> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = tokio::spawn(read(child.stdout.take()));
    let stderr = tokio::spawn(read(child.stderr.take()));
    let ended = tokio::select! {
        status = child.wait() => Ok(status?),
        () = tokio::time::sleep(limit) => Err(Ended::TooLate),
        () = tenure.over() => Err(Ended::Deposed),
    };
    match ended {
        Ok(status) => Ok(Ended::ByItself(Output {
            status,
            stdout: stdout.await.unwrap_or_default(),
            stderr: stderr.await.unwrap_or_default(),
        })),
        Err(cut) => {
            end(&mut child, tenure).await?;
            Ok(cut)
        }
    }
}

async fn end(child: &mut Child, tenure: &Tenure) -> io::Result<()> {
    let late = tenure.over_for().is_some_and(|since| since > LATE);
    if !late && ask(child) && tokio::time::timeout(ASKED, child.wait()).await.is_ok() {
        return Ok(());
    }
    child.kill().await
}

/// Asks a program to end; whether it could be asked.
#[cfg(unix)]
fn ask(child: &Child) -> bool {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    id.is_some_and(|id| kill(Pid::from_raw(id), Signal::SIGTERM).is_ok())
}

#[cfg(not(unix))]
fn ask(_: &Child) -> bool {
    false
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut all = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read before an error is still worth telling.
        let _ = pipe.read_to_end(&mut all).await;
    }
    all
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn what_a_program_wrote_is_kept() {
        let script = shell("echo out; echo err >&2; exit 3");
        let ended = run(script, ASKED, &Tenure::unlimited()).await;
        let Ok(Ended::ByItself(output)) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(
            (&output.stdout[..], &output.stderr[..]),
            (&b"out\n"[..], &b"err\n"[..])
        );
    }

    #[tokio::test]
    async fn one_that_takes_too_long_is_asked_to_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("asked");
        let script = format!(
            "trap 'touch {}; exit 0' TERM; sleep 60 & wait",
            file.display()
        );
        let ended = run(
            shell(&script),
            Duration::from_millis(500),
            &Tenure::unlimited(),
        )
        .await;
        assert!(matches!(ended, Ok(Ended::TooLate)), "{ended:?}");
        assert!(file.exists(), "it was not asked");
    }

    #[tokio::test]
    async fn one_that_does_not_listen_is_made_to_end() {
        let tenure = Tenure::none();
        tenure.grant(tenure.now() + Duration::from_millis(300));
        let began = Instant::now();
        let script = shell("trap '' TERM; for n in 1 2 3 4 5 6 7 8 9; do sleep 5; done");
        let ended = run(script, Duration::from_secs(60), &tenure).await;
        assert!(matches!(ended, Ok(Ended::Deposed)), "{ended:?}");
        assert!(began.elapsed() >= ASKED, "it was not asked first");
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it was waited for"
        );
    }

    /// Another may already act: there is no time to ask.
    #[tokio::test]
    async fn one_whose_time_was_over_long_ago_is_not_asked() {
        let clock = Arc::new(std::sync::atomic::AtomicU64::new(100));
        let read = Arc::clone(&clock);
        let tenure = Tenure::by(Arc::new(move || {
            Duration::from_secs(read.load(std::sync::atomic::Ordering::SeqCst))
        }));
        tenure.grant(Duration::from_secs(110));
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("asked");
        let script = format!(
            "trap 'touch {}; exit 0' TERM; sleep 60 & wait",
            file.display()
        );
        let thaw = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            clock.store(500, std::sync::atomic::Ordering::SeqCst);
        };
        let (ended, ()) = tokio::join!(run(shell(&script), Duration::from_secs(60), &tenure), thaw);
        assert!(matches!(ended, Ok(Ended::Deposed)), "{ended:?}");
        assert!(!file.exists(), "it was asked");
    }
}
