//! The operator's command, which changes the number of replicas. It is run without a shell, in a process group, which is
//! killed if the command takes too long. If this program is killed, the command goes on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// What a word has in the place of the number.
const REPLICAS: &str = "{replicas}";
/// The last part of what it says that is kept.
const SAID_BYTES_MAX: usize = 4 << 10;
/// The most that the file of what it says may grow to, beside what it says between two looks at the file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The pause between two looks at the file.
const TRIM_EVERY: Duration = Duration::from_secs(1);

/// The words of a command, and how long it may take.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    words: Vec<String>,
    deadline: Duration,
}

impl Template {
    /// Takes the words of the command line.
    ///
    /// # Errors
    /// The first one names no program, or none of them has a place for the number.
    pub(crate) fn new(words: Vec<String>, deadline: Duration) -> anyhow::Result<Self> {
        let program = words.first().map(|word| word.trim()).unwrap_or_default();
        ensure!(!program.is_empty(), "the command has no program: its first word is empty");
        let has_place = words.iter().any(|word| word.contains(REPLICAS));
        ensure!(has_place, "the command has no {REPLICAS}: it says where the number belongs");
        Ok(Self { words, deadline })
    }

    /// Returns the words with the number in its place.
    fn with(&self, replicas: u32) -> Vec<String> {
        let number = replicas.to_string();
        self.words.iter().map(|word| word.replace(REPLICAS, &number)).collect()
    }

    /// Returns the command as it is logged.
    pub(crate) fn shown(&self, replicas: u32) -> String {
        self.with(replicas).join(" ")
    }

    /// Runs the command. If the returned future is dropped, the command is killed.
    ///
    /// # Errors
    /// It cannot be started, does not succeed, or has not ended by its deadline and was killed.
    pub(crate) async fn run(self, replicas: u32) -> anyhow::Result<()> {
        let words = self.with(replicas);
        let (program, arguments) = words.split_first().context("there is no command")?;
        let mut command = Command::new(program);
        let mut said = Said::begin();
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(said.place().context("cannot take what the command says")?);
        // Ctrl-C is for this program, which lets the command finish.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
        let mut group = Group::of(&child);
        let ended = tokio::time::timeout(self.deadline, said.until_end(&mut child)).await;
        let Ok(ended) = ended else {
            group.kill();
            child.wait().await.context("cannot wait for the command")?;
            let seconds = self.deadline.as_secs();
            bail!("{program} was killed: it had not ended after {seconds} s{}", said.last());
        };
        let status = ended.context("cannot wait for the command")?;
        group.0 = None;
        ensure!(status.success(), "{program} ended with {status}{}", said.last());
        Ok(())
    }
}

/// The process group of a running command, which ends with this.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // It may have ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of what a command says on standard error. It is a file without a name and not a pipe, which would end a command
/// that says something after this program was killed.
#[derive(Debug)]
struct Said {
    /// `None` if no file can be made: then the command says it where this program logs.
    file: Option<File>,
    /// The end of what was in the file before it was emptied.
    before: Vec<u8>,
}

impl Said {
    fn begin() -> Self {
        // Emptied, it is written from its beginning again.
        let file = tempfile::Builder::new().append(true).tempfile();
        Self { file: file.map(tempfile::NamedTempFile::into_file).ok(), before: Vec::new() }
    }

    /// Returns what becomes the command's standard error.
    fn place(&self) -> io::Result<Stdio> {
        let file = self.file.as_ref().map(File::try_clone).transpose()?;
        Ok(file.map_or_else(Stdio::inherit, Stdio::from))
    }

    /// Waits for the end of a command, and keeps the file small meanwhile.
    async fn until_end(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                ended = child.wait() => return ended,
                () = tokio::time::sleep(TRIM_EVERY) => {
                    // A command that runs matters more than the size of its file.
                    let _ = self.trim();
                }
            }
        }
    }

    /// Empties the file if it is large.
    fn trim(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        if file.metadata()?.len() > FILE_BYTES_MAX {
            self.before = end(file)?;
            file.set_len(0)?;
        }
        Ok(())
    }

    /// Returns its last line, behind a colon, if it has said anything.
    fn last(&self) -> String {
        let after = self.file.as_ref().and_then(|file| end(file).ok()).unwrap_or_default();
        let said = [&self.before[..], &after].concat();
        let text = String::from_utf8_lossy(&said);
        let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
        last.map(|line| format!(": {line}")).unwrap_or_default()
    }
}

/// Reads the last bytes of a file.
fn end(file: &File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let first = length.saturating_sub(SAID_BYTES_MAX as u64);
    let mut bytes = vec![0; (length - first) as usize];
    file.read_exact_at(&mut bytes, first)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use placard_testkit::wait::until;

    use super::*;

    fn template(script: &str, deadline: Duration) -> Template {
        let words = ["sh", "-c", script, "sh", "--scale", "placard={replicas}"].map(str::to_owned);
        Template::new(words.to_vec(), deadline).unwrap()
    }

    #[test]
    fn command_without_program_or_number_is_refused() {
        let words = ["docker", "compose", "up"].map(str::to_owned).to_vec();
        let error = Template::new(words, Duration::ZERO).unwrap_err().to_string();
        assert!(error.starts_with("the command has no {replicas}"), "{error}");
        for empty in ["", " "] {
            let words = [empty, REPLICAS].map(str::to_owned).to_vec();
            let error = Template::new(words, Duration::ZERO).unwrap_err().to_string();
            assert!(error.starts_with("the command has no program"), "{error}");
        }
        let template = template("true", Duration::ZERO);
        assert_eq!(template.shown(3), "sh -c true sh --scale placard=3");
    }

    #[tokio::test]
    async fn command_gets_the_number_in_its_words() {
        let template = template(r#"test "$*" = "--scale placard=3""#, Duration::from_secs(60));
        template.clone().run(3).await.unwrap();
        let error = template.run(4).await.unwrap_err().to_string();
        assert_eq!(error, "sh ended with exit status: 1");
    }

    #[tokio::test]
    async fn failing_command_is_reported_with_its_last_line() {
        let script = "yes first | head -n 20000 >&2; echo 'no such service' >&2; echo >&2; exit 7";
        let template = template(script, Duration::from_secs(60));
        let error = template.run(1).await.unwrap_err().to_string();
        assert_eq!(error, "sh ended with exit status: 7: no such service");
        let words = ["/nowhere/scale".to_owned(), REPLICAS.to_owned()].to_vec();
        let template = Template::new(words, Duration::from_secs(60)).unwrap();
        let error = format!("{:#}", template.run(1).await.unwrap_err());
        assert!(error.starts_with("cannot run /nowhere/scale: "), "{error}");
    }

    #[test]
    fn file_of_what_is_said_stays_small() {
        let mut said = Said::begin();
        let mut file = said.file.as_ref().unwrap().try_clone().unwrap();
        let much = "a line\n".repeat(FILE_BYTES_MAX as usize / 6);
        for more in ["", "no such service\n"] {
            file.write_all(much.as_bytes()).unwrap();
            file.write_all(b"the last line\n").unwrap();
            said.trim().unwrap();
            assert_eq!(file.metadata().unwrap().len(), 0);
            assert_eq!(said.last(), ": the last line");
            file.write_all(more.as_bytes()).unwrap();
        }
        assert_eq!(file.metadata().unwrap().len(), 16);
        assert_eq!(said.last(), ": no such service");
    }

    #[tokio::test]
    async fn command_that_leaves_a_child_behind_has_ended() {
        let script = "sleep 600 & echo $! >&2; exit 1";
        let template = template(script, Duration::from_secs(300));
        let error = template.run(1).await.unwrap_err().to_string();
        let (_, child) = error.rsplit_once(": ").unwrap();
        let killed = Command::new("kill").args(["-KILL", child]).status().await;
        assert!(killed.unwrap().success(), "{error}");
    }

    #[tokio::test]
    async fn command_past_its_deadline_is_killed() {
        let template = template("echo waiting >&2; sleep 600", Duration::from_secs(1));
        let error = template.run(1).await.unwrap_err().to_string();
        assert_eq!(error, "sh was killed: it had not ended after 1 s: waiting");
    }

    #[tokio::test]
    async fn abandoned_command_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("child");
        let path = file.display();
        // The file is there as a whole or not at all.
        let script = format!("sleep 600 & echo $! > {path}.new; mv {path}.new {path}; wait");
        let child = until("the child", async || std::fs::read_to_string(&file).ok());
        let child = tokio::select! {
            ended = template(&script, Duration::from_secs(300)).run(1) => panic!("{ended:?}"),
            child = child => child,
        };
        let stat = format!("/proc/{}/stat", child.trim());
        until("the end of the child", async || {
            let stat = std::fs::read_to_string(&stat).unwrap_or_default();
            let state = stat.rsplit_once(") ").map(|(_, state)| state.to_owned());
            state.is_none_or(|state| state.starts_with(['Z', 'X'])).then_some(())
        })
        .await;
    }
}
