//! `log`: what an upgrade decided, from its log in the operator's namespace.

use std::pin::pin;

use anyhow::{Result, anyhow};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::runtime::watcher::{self, watch_object};
use meshlift_cluster::journal::{Line, Log, find};

use super::Context;
use crate::args::LogArgs;
use crate::exit::Exit;
use crate::failure;
use crate::output::tell;

/// Prints a log, and goes on where it is asked to.
pub(super) async fn log(context: &Context<'_>, args: &LogArgs) -> Result<Exit> {
    let connection = context.connect().await?;
    let namespace = &context.global.operator_namespace;
    let doing = format!("looking for the log of MeshUpgrade {}", args.name);
    let failed = |error| failure::request(&doing, &connection.server, error);
    let found = find(&connection.requests, namespace, &args.name).await;
    let name = found.map_err(failed)?.ok_or_else(|| {
        anyhow!(
            "there is no log of a MeshUpgrade {} in namespace {namespace}: `{} status` lists those there are; an operator elsewhere is named by --operator-namespace",
            args.name,
            context.program()
        )
    })?;
    let mut view = View {
        json: args.output.is_some(),
        told: 0,
    };
    let logs = |client| Api::<ConfigMap>::namespaced(client, namespace);
    let map = logs(connection.requests.clone()).get(&name).await;
    let read = view.tell(&Log::of(&map.map_err(failed)?))?;
    if !args.follow || read != Reads::On {
        return Ok(Exit::Fine);
    }
    let mut changes = pin!(watch_object(logs(connection.watches.clone()), &name));
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            biased;
            signal = &mut interrupted => {
                signal?;
                return Ok(Exit::Interrupted);
            }
            change = changes.next() => match change {
                Some(Ok(Some(map))) => {
                    if view.tell(&Log::of(&map))? != Reads::On {
                        return Ok(Exit::Fine);
                    }
                }
                Some(Ok(None)) => return Err(anyhow!("the log of MeshUpgrade {} was deleted", args.name)),
                // What is refused stays refused; a lost connection comes back.
                Some(Err(watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)))
                    if matches!(&error, kube::Error::Api(status) if status.code == 403) =>
                {
                    return Err(failed(error));
                }
                Some(Err(_)) => {}
                None => return Ok(Exit::Fine),
            },
        }
    }
}

/// Whether there may be more to read, and someone reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    On,
    Ended,
}

struct View {
    json: bool,
    /// Number of the last line that was printed.
    told: u64,
}

impl View {
    /// Prints the lines that are new.
    fn tell(&mut self, log: &Log) -> Result<Reads> {
        let mut text = String::new();
        for line in log.lines().iter().filter(|line| line.n > self.told) {
            text.push_str(&if self.json {
                serde_json::to_string(line)? + "\n"
            } else {
                shown(line)
            });
        }
        let Some(last) = log.lines().last() else {
            return Ok(Reads::On);
        };
        self.told = last.n;
        let read = text.is_empty() || tell(&text)?;
        if read && !last.phase.is_terminal() {
            Ok(Reads::On)
        } else {
            Ok(Reads::Ended)
        }
    }
}

/// A line for a person; what was dropped before it is said.
fn shown(line: &Line) -> String {
    let step = line.step.map(|step| format!("/{step}")).unwrap_or_default();
    let mut text = match line.dropped {
        0 => String::new(),
        n => format!("... {n} lines were dropped here: a log keeps its first and its last\n"),
    };
    text += &format!("{} {}{step}: {}\n", line.time, line.phase, line.what);
    for did in &line.did {
        text += &format!("    + {did}\n");
    }
    if let Some(error) = &line.error {
        text += &format!("    ! {error}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use meshlift_api::{Phase, Step};

    use super::*;

    #[test]
    fn a_line_says_when_where_what_and_what_was_done() {
        let line = Line {
            n: 7,
            time: "2026-11-02T02:00:16Z".parse().expect("a time"),
            phase: Phase::Upgrading,
            step: Some(Step::RestartingWorkloads),
            what: "0/5 workloads on 1-31-0".into(),
            did: vec!["restarting apps/v1 Deployment shop/cart for 1-31-0".into()],
            waits: None,
            error: Some("no".into()),
            dropped: 3,
        };
        insta::assert_snapshot!(shown(&line), @r"
        ... 3 lines were dropped here: a log keeps its first and its last
        2026-11-02T02:00:16Z Upgrading/RestartingWorkloads: 0/5 workloads on 1-31-0
            + restarting apps/v1 Deployment shop/cart for 1-31-0
            ! no
        ");
    }
}
