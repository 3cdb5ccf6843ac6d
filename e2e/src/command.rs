//! Programs that scenarios run.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A program and its arguments, in words.
pub(crate) fn command<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
///
/// If it is not there or fails: with what it said on standard error.
pub(crate) async fn output(command: &mut Command) -> Result<String> {
    let name = shown(command);
    let output = command.output().await.with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({}): {}", output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} printed what is not text"))
}

/// Runs a program to its end with `input` on its standard input.
///
/// # Errors
///
/// If it is not there or fails: with what it said on standard error.
pub(crate) async fn feed(command: &mut Command, input: &str) -> Result<()> {
    let name = shown(command);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    let mut to = child.stdin.take().with_context(|| format!("{name} has no standard input"))?;
    to.write_all(input.as_bytes()).await?;
    drop(to);
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({}): {}", output.status, said.trim());
    }
    Ok(())
}

/// Runs a program to its end; what it prints is printed.
///
/// # Errors
///
/// If it is not there or fails.
pub(crate) async fn run(command: &mut Command) -> Result<()> {
    let name = shown(command);
    let status = command.status().await.with_context(|| format!("cannot run {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

fn shown(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
