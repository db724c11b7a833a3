//! `placard man` and `placard completions`, which packages are made with.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use placard_testkit::process::{Ended, Process};

use crate::server::PLACARD;
use crate::usage::variables;

async fn run(arguments: &[&str]) -> Ended {
    let ended = Process::start(PLACARD, arguments, &[]).ended().await;
    assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {ended:#?}");
    ended
}

/// The pages by their files' names.
async fn pages(directory: &Path) -> BTreeMap<String, String> {
    // It makes the directory.
    let directory = directory.join("man1");
    run(&["man", directory.to_str().expect("its name is text")]).await;
    let files = std::fs::read_dir(&directory).expect("there is a directory");
    let page = |file: std::io::Result<std::fs::DirEntry>| {
        let file = file.expect("it can be listed");
        let name = file.file_name().into_string().expect("its name is text");
        // A hyphen that may be copied, which is how roff writes all of them.
        (name, std::fs::read_to_string(file.path()).expect("a page is text").replace("\\-", "-"))
    };
    files.map(page).collect()
}

/// The commands that the help lists, but for the help itself.
async fn commands() -> Vec<String> {
    let help = run(&["--help"]).await.out;
    let listed = help.iter().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[tokio::test]
async fn each_command_has_a_page_with_all_sections() {
    let directory = tempfile::tempdir().unwrap();
    let pages = pages(directory.path()).await;
    let commands = commands().await;
    assert!(commands.len() > 8, "{commands:?}");
    let mut names: Vec<_> = commands.iter().map(|name| format!("placard-{name}.1")).collect();
    names.push("placard.1".to_owned());
    names.sort();
    assert_eq!(pages.keys().collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    for (name, page) in &pages {
        let sections = page.lines().filter_map(|line| line.strip_prefix(".SH "));
        let sections: Vec<_> = sections.map(|title| title.trim_matches('"')).collect();
        let (first, rest) = sections.split_at(4);
        assert_eq!(first, ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"], "{name}");
        let has_files = ["placard.1", "placard-serve.1", "placard-backup.1", "placard-verify.1"];
        let files = has_files.contains(&name.as_str()).then_some("FILES");
        let last = ["ENVIRONMENT", "EXIT STATUS"].into_iter().chain(files).chain(["SEE ALSO"]);
        assert!(rest.ends_with(&last.collect::<Vec<_>>()), "{name}: {sections:?}");
        let see_also = page.rsplit("SEE ALSO").next().unwrap_or_default();
        for other in names.iter().filter(|other| *other != name) {
            let other = other.replace(".1", "(1)");
            assert!(see_also.contains(&other), "{name} does not lead to {other}");
        }
    }
}

#[tokio::test]
async fn pages_name_each_variable_that_counts() {
    let directory = tempfile::tempdir().unwrap();
    let pages = pages(directory.path()).await;
    let listed = pages.values().filter_map(|page| page.split("ENVIRONMENT").nth(1));
    let listed: String = listed.collect();
    for variable in variables() {
        assert!(listed.contains(&format!("\\fB{variable}\\fR")), "{variable}");
    }
    assert!(pages["placard-serve.1"].contains("\\fB--drain-delay\\fR"), "{pages:#?}");
}

/// As bash itself runs them; `scripts/test-package` asks the other shells.
#[tokio::test]
async fn bash_completes_commands_and_options() {
    let script = run(&["completions", "bash"]).await.out.join("\n");
    for (words, expected) in [
        ("placard he", vec!["healthcheck", "help"]),
        ("placard serve --drain", vec!["--drain-delay"]),
        ("placard serve --on-stale ", vec!["serve", "refuse"]),
    ] {
        let words: Vec<_> = words.split(' ').collect();
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let ask = format!(
            "{script}\nCOMP_WORDS=({}); COMP_CWORD={}; _placard placard '{last}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1,
        );
        let done = Command::new("bash").args(["-c", &ask]).output().expect("there is a bash");
        let found = String::from_utf8_lossy(&done.stdout);
        assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{words:?}: {done:?}");
    }
}
