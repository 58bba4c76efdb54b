//! `backup`: taken by a person, and those that upgrades took.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use meshlift_api::labels::DEFAULT_REVISION;
use meshlift_api::{ControlPlaneRef, Mesh, MeshUpgrade};
use meshlift_cluster::backup::{self, Contents, FORMAT, Header, Index};
use meshlift_cluster::{Error, Observer};
use meshlift_model::view::{Release, Seen};
use tempfile::NamedTempFile;

use super::{Context, print};
use crate::args::{
    BackupArgs, BackupCommand, BackupListArgs, CreateArgs, ExportArgs, Output, ShowArgs, ValuesArgs,
};
use crate::connect::Connection;
use crate::exit::Exit;
use crate::output::encode;
use crate::{failure, render};

/// Does what is asked with backups.
pub(super) async fn backup(context: &Context<'_>, args: &BackupArgs) -> Result<Exit> {
    match &args.command {
        BackupCommand::Create(args) => create(context, args).await,
        BackupCommand::List(args) => list(context, args).await,
        BackupCommand::Show(args) => show(context, args).await,
        BackupCommand::Export(args) => export(context, args).await,
        BackupCommand::Values(args) => values(context, args).await,
    }
}

async fn create(context: &Context<'_>, args: &CreateArgs) -> Result<Exit> {
    let mut sink = FileSink::new(&args.output)?;
    let connection = context.connect().await?;
    let namespace = control_plane_namespace(&connection, &args.mesh).await?;
    let client = &connection.requests;
    let releases = match Observer::helm_releases(client, &namespace).await {
        Seen::Present(releases) => releases,
        Seen::Absent => Vec::new(),
        Seen::Unreadable(why) => bail!("reading the Helm releases: {why}"),
    };
    let now = Timestamp::now();
    let header = Header {
        format: FORMAT,
        name: format!("{}-{}", args.mesh, now.strftime("%Y%m%d%H%M%S")),
        mesh: args.mesh.clone(),
        upgrade: None,
        from: running(&releases),
        to: None,
        taken_at: Timestamp::from_second(now.as_second())?,
        meshlift: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let index = backup::take(client, header, &releases, &mut sink).await?;
    eprintln!("{}", render::backups::counted(&index));
    print(&format!("{}\n", args.output.display()))?;
    Ok(Exit::Fine)
}

/// Where istiod runs: what the Mesh says, or where there is one.
async fn control_plane_namespace(connection: &Connection, mesh: &str) -> Result<String> {
    let client = || connection.requests.clone();
    let failed = |doing: &str, error| failure::request(doing, &connection.server, error);
    match Api::<Mesh>::all(client()).get_opt(mesh).await {
        Ok(Some(mesh)) => return Ok(mesh.spec.control_plane_namespace),
        Ok(None) => {}
        Err(error) => return Err(failed(&format!("reading Mesh {mesh}"), error)),
    }
    let istiods = ListParams::default().labels("app=istiod");
    let found = Api::<Deployment>::all(client()).list(&istiods).await;
    let found = found.map_err(|error| failed("looking for istiod", error))?;
    let mut namespaces: Vec<String> = found.iter().filter_map(ResourceExt::namespace).collect();
    namespaces.sort();
    namespaces.dedup();
    match namespaces.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!(
            "there is no Mesh {mesh}, and no istiod in this cluster (a Deployment with label app=istiod): choose another --context, or name the mesh with --mesh"
        ),
        many => bail!(
            "there is no Mesh {mesh}, and istiod runs in {}: make a Mesh object for one, and name it with --mesh",
            many.join(", ")
        ),
    }
}

/// The control plane that runs, where there is only one.
fn running(releases: &[Release]) -> Option<ControlPlaneRef> {
    let mut istiods = releases.iter().filter(|release| release.chart == "istiod");
    let one = istiods.next().filter(|_| istiods.next().is_none())?;
    let revision = one.values.get("revision").and_then(|value| value.as_str());
    Some(ControlPlaneRef {
        version: one.version.as_ref()?.to_string(),
        revision: Some(
            revision
                .filter(|r| !r.is_empty())
                .unwrap_or(DEFAULT_REVISION)
                .to_owned(),
        ),
    })
}

async fn list(context: &Context<'_>, args: &BackupListArgs) -> Result<Exit> {
    let connection = context.connect().await?;
    let namespace = &context.global.operator_namespace;
    let all = backup::list(&connection.requests, namespace).await;
    let all = all.map_err(|error| {
        let doing = format!("listing the backups in namespace {namespace}");
        failure::request(&doing, &connection.server, error)
    })?;
    if all.is_empty() {
        eprintln!(
            "there is no backup in namespace {namespace}: an upgrade takes one before it changes anything"
        );
    }
    print(&match args.form.output {
        Some(form) => encode(form, &all)?,
        None if all.is_empty() => String::new(),
        None => render::backups::list(context.terminal, &all),
    })?;
    Ok(Exit::Fine)
}

async fn show(context: &Context<'_>, args: &ShowArgs) -> Result<Exit> {
    let contents = find(context, &args.source).await?;
    print(&match args.form.output {
        Some(form) => encode(form, &render::backups::summary(&contents))?,
        None => render::backups::show(context.terminal, &contents),
    })?;
    Ok(Exit::Fine)
}

async fn export(context: &Context<'_>, args: &ExportArgs) -> Result<Exit> {
    let mut sink = FileSink::new(&args.output)?;
    let connection = context.connect().await?;
    let (index, stream, _) = loaded(context, &connection, &args.name).await?;
    sink.write(&stream)?;
    sink.end()?;
    eprintln!("{}", render::backups::counted(&index));
    print(&format!("{}\n", args.output.display()))?;
    Ok(Exit::Fine)
}

async fn values(context: &Context<'_>, args: &ValuesArgs) -> Result<Exit> {
    let contents = find(context, &args.source).await?;
    let there = contents
        .releases
        .iter()
        .map(|release| release.name.as_str());
    let there: Vec<&str> = there.collect();
    let release = contents
        .releases
        .iter()
        .find(|release| release.name == args.release);
    let release = release.ok_or_else(|| {
        anyhow!(
            "there is no Helm release {} in this backup (there is {})",
            args.release,
            there.join(", ")
        )
    })?;
    print(&encode(Output::Yaml, &release.values)?)?;
    Ok(Exit::Fine)
}

/// A backup by its name, the name of its MeshUpgrade, or its file.
pub(super) async fn find(context: &Context<'_>, source: &str) -> Result<Contents> {
    let path = Path::new(source);
    if path.is_file() {
        let file = File::open(path).with_context(|| format!("{source} cannot be read"))?;
        return backup::read(file).map_err(|error| {
            anyhow!(
                "{source}: {error}; choose a file that `{} backup` wrote",
                context.program()
            )
        });
    }
    let connection = context.connect().await?;
    let (_, _, contents) = loaded(context, &connection, source).await?;
    Ok(contents)
}

/// A backup in the cluster, by its name or that of its MeshUpgrade.
async fn loaded(
    context: &Context<'_>,
    connection: &Connection,
    name: &str,
) -> Result<(Index, Vec<u8>, Contents)> {
    let namespace = &context.global.operator_namespace;
    let failed = |error| match error {
        Error::Kube { what, source } => failure::request(&what, &connection.server, *source),
        error => anyhow!(error),
    };
    let load = async |name: &str| {
        let loaded = backup::load(&connection.requests, namespace, name).await;
        loaded.map_err(failed)
    };
    if let Some(found) = load(name).await? {
        return Ok(found);
    }
    let upgrade = Api::<MeshUpgrade>::all(connection.requests.clone())
        .get_opt(name)
        .await;
    // Without the right to read it, or the kind, the name is still none of a backup.
    let taken = upgrade
        .ok()
        .flatten()
        .and_then(|upgrade| upgrade.status?.backup);
    if let Some(taken) = taken {
        return load(&taken).await?.ok_or_else(|| {
            anyhow!(
                "the backup {taken} that MeshUpgrade {name} took is not in namespace {namespace}: `{} backup list` lists those there are; an operator elsewhere is named by --operator-namespace",
                context.program()
            )
        });
    }
    bail!(
        "there is no backup {name} in namespace {namespace}, no MeshUpgrade {name} that took one, and no such file: `{} backup list` lists those there are",
        context.program()
    )
}

/// A file that is there as a whole or not at all, and that only its owner may read. It is written under a name that nobody
/// else has or can know before: neither a link that waits there is followed, nor a file kept with the mode that it has.
struct FileSink {
    path: PathBuf,
    /// None once it has ended.
    partial: Option<NamedTempFile>,
}

impl FileSink {
    fn new(path: &Path) -> Result<Self> {
        if path.exists() {
            bail!("{} is there already: choose another file", path.display());
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".");
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let made = tempfile::Builder::new()
            .prefix(&name)
            .suffix(".partial")
            .tempfile_in(folder.unwrap_or(Path::new(".")));
        Ok(Self {
            partial: Some(made.with_context(|| cannot_be_written(path))?),
            path: path.to_owned(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(partial) = &mut self.partial else {
            bail!("{} is there already", self.path.display());
        };
        let written = partial.write_all(bytes);
        written.with_context(|| cannot_be_written(&self.path))
    }

    fn end(&mut self) -> Result<()> {
        let Some(partial) = self.partial.take() else {
            return Ok(());
        };
        let ended = partial.as_file().sync_all();
        let ended = ended.and_then(|()| Ok(partial.persist_noclobber(&self.path)?));
        ended.with_context(|| cannot_be_written(&self.path))?;
        Ok(())
    }
}

fn cannot_be_written(path: &Path) -> String {
    format!("{} cannot be written", path.display())
}

impl backup::ChunkSink for FileSink {
    async fn chunk(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        self.write(&bytes)
            .map_err(|error| Error::Unreadable(format!("{error:#}")))
    }

    async fn index(&mut self, _: &Index) -> Result<(), Error> {
        self.end()
            .map_err(|error| Error::Unreadable(format!("{error:#}")))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_lies_where_a_half_written_file_would_be_is_left_alone() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("mesh.backup");
        let (partial, target) = (
            folder.path().join("mesh.backup.partial"),
            folder.path().join("victim"),
        );
        std::fs::write(&target, "untouched").expect("written");
        symlink(&target, &partial).expect("linked");
        let mut sink = FileSink::new(&path).expect("a new file");
        sink.write(b"hush").expect("it is written");
        let files = std::fs::read_dir(folder.path()).expect("the folder");
        let written = files.map(|file| file.expect("a file").path());
        let written = written.filter(|file| ![&partial, &target].contains(&file));
        for file in written.collect::<Vec<_>>() {
            let mode = file.metadata().expect("metadata").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
        sink.end().expect("it ends");
        let kept = std::fs::read_to_string(&target).expect("it reads");
        assert_eq!(kept, "untouched");
        assert!(!path.is_symlink());
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("mesh.backup");
        let mut sink = FileSink::new(&path).expect("a new file");
        std::fs::write(&path, "another's").expect("written");
        let why = format!("{:#}", sink.end().expect_err("it is there"));
        assert!(why.contains("mesh.backup cannot be written"), "{why}");
        let kept = std::fs::read_to_string(&path).expect("it reads");
        assert_eq!(kept, "another's");
    }

    #[test]
    fn a_file_is_whole_or_not_there_and_private() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("mesh.backup");
        let mut cut = FileSink::new(&path).expect("a new file");
        cut.write(b"half").expect("it is written");
        drop(cut);
        let left = std::fs::read_dir(folder.path())
            .expect("the folder")
            .count();
        assert_eq!(left, 0, "half a backup stayed");
        let mut sink = FileSink::new(&path).expect("a new file");
        sink.write(b"whole").expect("it is written");
        sink.end().expect("it ends");
        drop(sink);
        let mut text = String::new();
        let mut file = File::open(&path).expect("it is there");
        file.read_to_string(&mut text).expect("it reads");
        assert_eq!(text, "whole");
        let mode = file.metadata().expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = FileSink::new(&path).err().expect("it is there").to_string();
        assert!(again.contains("is there already"), "{again}");
    }
}
