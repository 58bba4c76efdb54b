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

#[test]
fn replicas_are_ensured_with_strategy_in_place_and_refused_with_any_other() {
    let commands = Cli::command();
    let takes_it = |command: &&clap::Command| {
        command
            .get_arguments()
            .any(|arg| arg.get_id() == "ensure_replicas")
    };
    let names: Vec<&str> = commands
        .get_subcommands()
        .filter(takes_it)
        .map(clap::Command::get_name)
        .collect();
    assert_eq!(names, ["check", "plan", "upgrade", "manual"]);
    for name in names {
        let validated = |strategy: &[&str]| {
            let line = ["meshlift", name, "--to", "1.31", "--ensure-replicas", "2"];
            let cli = Cli::try_parse_from([&line[..], strategy].concat());
            cli.expect("clap has no rule for it").command.validate()
        };
        assert!(validated(&["--strategy", "InPlace"]).is_ok(), "{name}");
        for other in [&[][..], &["--strategy", "Canary"]] {
            let refused = validated(other).expect_err(name).to_string();
            assert_eq!(
                refused,
                "--ensure-replicas belongs to strategy InPlace: set --strategy InPlace, or remove --ensure-replicas"
            );
        }
    }
}

#[test]
fn replicas_are_ensured_in_the_range_that_the_api_server_accepts() {
    let refused = |flags: &[&str]| {
        let error = Cli::try_parse_from([&["meshlift", "plan"], flags].concat());
        error.expect_err("it is wrong").to_string()
    };
    for number in ["1", "11", "two"] {
        let message = refused(&["--ensure-replicas", number]);
        assert!(message.contains("'--ensure-replicas <N>'"), "{message}");
    }
    let message = refused(&["-f", "upgrade.yaml", "--ensure-replicas", "2"]);
    assert!(message.contains("cannot be used with"), "{message}");
}
