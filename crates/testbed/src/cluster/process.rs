//! The processes of a cluster: started so that they die with their owner, however it dies.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

type Request = (Command, Sender<io::Result<Child>>);

/// Starts and owns processes; dropped, it kills them.
pub(crate) struct Processes {
    requests: Sender<Request>,
    running: Mutex<Vec<Process>>,
    logs: PathBuf,
}

struct Process {
    name: String,
    child: Child,
}

impl Processes {
    /// `logs` is the directory for one `<name>.log` each.
    pub(crate) fn new(logs: PathBuf) -> Result<Self> {
        fs::create_dir_all(&logs)?;
        let (requests, received) = channel();
        // The kernel sends the parent-death signal when the *thread* that forked ends, so one thread
        // that lives as long as the cluster starts everything.
        std::thread::Builder::new()
            .name("testbed-spawner".into())
            .spawn(move || serve(received))?;
        Ok(Processes {
            requests,
            running: Mutex::default(),
            logs,
        })
    }

    /// Starts `program`; what it prints goes to its log.
    pub(crate) fn spawn(&self, name: &str, command: &[String]) -> Result<()> {
        let log = File::create(self.log_path(name))?;
        let mut command = dying_with_us(command);
        command.stdout(log.try_clone()?).stderr(log);
        let child = self
            .start(command)
            .with_context(|| format!("cannot start {name}"))?;
        self.lock().push(Process {
            name: name.into(),
            child,
        });
        Ok(())
    }

    /// Starts a command whose standard output is handed back as a pipe.
    pub(crate) fn spawn_piped(&self, name: &str, command: &[String]) -> Result<Child> {
        let mut command = dying_with_us(command);
        command
            .stdout(Stdio::piped())
            .stderr(File::create(self.log_path(name))?);
        self.start(command)
            .with_context(|| format!("cannot start {name}"))
    }

    fn start(&self, command: Command) -> Result<Child> {
        let (reply, answer) = channel();
        self.requests
            .send((command, reply))
            .map_err(|_| anyhow!("the thread that starts processes is gone: this is a bug"))?;
        Ok(answer
            .recv()
            .context("the thread that starts processes is gone: this is a bug")??)
    }

    /// Kills the processes of this name and waits until they are gone; they are not missed.
    pub(crate) fn stop(&self, name: &str) -> Result<()> {
        let mut running = self.lock();
        let mut stopped = 0;
        for process in running.iter_mut().filter(|p| p.name == name) {
            // It may have ended already, which is what we want.
            let _ = process.child.kill();
            process.child.wait()?;
            stopped += 1;
        }
        running.retain(|process| process.name != name);
        if stopped == 0 {
            bail!("{name} does not run: start it before it is stopped");
        }
        Ok(())
    }

    /// Sends a signal to the processes of this name.
    pub(crate) fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        for process in self.lock().iter().filter(|p| p.name == name) {
            let pid = Pid::from_raw(process.child.id().cast_signed());
            kill(pid, signal).with_context(|| format!("cannot send {signal} to {name}"))?;
        }
        Ok(())
    }

    /// Fails, with the end of its log, if a process has ended by itself.
    pub(crate) fn check(&self) -> Result<()> {
        for process in self.lock().iter_mut() {
            if let Some(status) = process.child.try_wait()? {
                let tail = log_tail(&self.logs.join(format!("{}.log", process.name)), 15);
                bail!("{} ended ({status}); its last lines:\n{tail}", process.name);
            }
        }
        Ok(())
    }

    /// Polls `ready` until it holds; fails when the deadline passes or a process ends meanwhile.
    pub(crate) async fn wait_until<F>(
        &self,
        what: &str,
        deadline: Duration,
        mut ready: F,
    ) -> Result<()>
    where
        F: AsyncFnMut() -> Result<()>,
    {
        let end = tokio::time::Instant::now() + deadline;
        loop {
            self.check()?;
            let why = match ready().await {
                Ok(()) => return Ok(()),
                Err(why) => why,
            };
            if tokio::time::Instant::now() > end {
                return Err(why.context(format!("waited {} s for {what}", deadline.as_secs())));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn log_path(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Kills everything and waits until it is gone.
    pub(crate) fn kill_all(&self) {
        let mut running = self.lock();
        for process in running.iter_mut() {
            // It may have ended already, which is what we want.
            let _ = process.child.kill();
        }
        for mut process in running.drain(..) {
            let _ = process.child.wait();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Process>> {
        self.running
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.kill_all();
    }
}

fn serve(requests: Receiver<Request>) {
    for (mut command, reply) in requests {
        // The asker waits for the answer; if it is gone, so is the need for the child's handle.
        let _ = reply.send(command.spawn());
    }
}

/// How far the heap of a server written in Go grows between two collections, in percent: with Go's own 100 a third of the
/// API server's time goes into them, and a test cluster has memory to spare.
const GOGC: &str = "300";

fn dying_with_us(command: &[String]) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped
        .args(["--pdeathsig", "KILL", "--"])
        .args(command)
        .env("GOGC", GOGC)
        .stdin(Stdio::null());
    // Its own group: Ctrl-C reaches the owner only, which then stops things in order.
    wrapped.process_group(0);
    wrapped
}

/// The last `lines` lines of a log.
pub(crate) fn log_tail(path: &Path, lines: usize) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
