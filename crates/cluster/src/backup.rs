//! Backups of a mesh: what an upgrade may change, written down before it changes anything.
//!
//! # Format, version 1
//!
//! A backup is a gzip stream of lines of JSON, each an [`Entry`] with one key that says what it is: the
//! `header` first; then every `crd` of Istio and of the Gateway API by its versions, the Helm `release`s with
//! their values, the injection labels of each `namespace`, and each `object` (webhooks and Services of Istio,
//! and its configuration); last the `end` with the number of lines before it, without which it is not whole.
//! Objects are without what only the API server writes: status, managed fields, UID, resource version.
//!
//! In a cluster the stream lies in chunks in Secrets of the operator's namespace (`NAME-0`, `NAME-1`, ...), because
//! it may hold secrets and no Secret holds more than 1 MiB. `NAME-0` is written last and carries the [`Index`]:
//! who finds it finds all of them, and can prove it by their sums. In a file it is the stream itself.

mod content;
mod format;
mod plain;
mod restore;
mod retention;
mod secrets;
mod take;

pub use self::content::{BackedUpCrd, BackedUpNamespace, BackedUpRelease, End, Entry, Header};
pub use self::format::{ChunkSum, Contents, Index, read};
pub use self::plain::ObjectId;
pub use self::restore::{Change, Comparison, Filter, Left, apply, compare};
pub(crate) use self::retention::RECORD;
pub use self::retention::Retention;
pub(crate) use self::secrets::MESH;
pub use self::secrets::{Listed, SecretSink, exists, list, load};
pub use self::take::{ChunkSink, take};

/// The version of the format that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// The largest chunk, in bytes: a Secret holds at most 1 MiB, and the index lies beside the first.
pub const CHUNK: usize = 900 << 10;
