use clap::CommandFactory;

use super::*;

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_reads_well() {
    insta::assert_snapshot!(Cli::command().term_width(100).render_help().to_string());
}

#[test]
fn what_is_no_version_or_duration_is_refused_with_what_to_write() {
    let refused = |line: &[&str]| {
        let error = Cli::try_parse_from(line).expect_err("it is wrong");
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    let said = refused(&["meshlift", "check", "--to", "latest"]);
    assert!(said.contains("write an exact version (1.31.0)"), "{said}");
    let said = refused(&["meshlift", "upgrade", "--to", "1.31", "--soak", "5"]);
    assert!(said.contains("as in 90s"), "{said}");
    for absurd in ["99999999999999999999h", "5124095576030431h", "8761h"] {
        let said = refused(&["meshlift", "upgrade", "--to", "1.31", "--soak", absurd]);
        assert!(
            said.contains("--soak") && said.contains("is too long: write at most 8760h"),
            "{said}"
        );
    }
    let said = refused(&["meshlift", "check", "--request-timeout=-1s"]);
    assert!(said.contains("--request-timeout"), "{said}");
    assert!(Cli::try_parse_from(["meshlift", "list", "--request-timeout", "0"]).is_ok());
}

#[test]
fn of_wait_and_no_wait_the_last_word_counts() {
    let no_wait = |line: &[&str]| match Cli::try_parse_from(line).map(|cli| cli.command) {
        Ok(Command::Upgrade(args)) => args.no_wait,
        other => panic!("{other:?}"),
    };
    let line = ["meshlift", "upgrade", "--to", "1.31"];
    assert!(!no_wait(&line));
    assert!(no_wait(&[&line[..], &["--no-wait"]].concat()));
    assert!(!no_wait(&[&line[..], &["--no-wait", "--wait"]].concat()));
}
