//! Crashes and stale views.
