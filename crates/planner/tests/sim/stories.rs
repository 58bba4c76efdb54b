//! Every story as a golden transcript: time, phase and step, message, effects, the end.

use crate::run::Run;
use crate::scenes;

#[test]
fn every_story_reads_as_reviewed() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for story in scenes::all() {
        let run = Run::new(&story).tell();
        let text = run.transcript.with_end(&run.world);
        settings.bind(|| insta::assert_snapshot!(story.name, text));
    }
}
