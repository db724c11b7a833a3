//! Compares who depends on whom, as `cargo metadata` has it, with the table of ARCHITECTURE.md. Dev-dependencies
//! are free. Exit code 1 and one line for each arrow that should not be there.

#![allow(clippy::print_stderr, reason = "a check tells what is wrong")]

use std::process::{Command, ExitCode};

use serde_json::Value;

/// Each crate, and the crates of the workspace that it may know.
const LAYERS: [(&str, &[&str]); 10] = [
    ("placard-model", &[]),
    ("placard-engine", &["placard-model"]),
    ("placard-replica", &["placard-model", "placard-engine"]),
    ("placard-storage", &["placard-model", "placard-replica"]),
    ("placard-scheduler", &["placard-model", "placard-replica"]),
    ("placard-telemetry", &["placard-model", "placard-replica"]),
    ("placard-api", &["placard-model", "placard-engine", "placard-replica"]),
    (
        "placard-node",
        &[
            "placard-model",
            "placard-engine",
            "placard-replica",
            "placard-storage",
            "placard-scheduler",
            "placard-api",
            "placard-telemetry",
        ],
    ),
    ("placard", &["placard-model", "placard-node"]),
    ("placard-testkit", &["placard-model", "placard-engine", "placard-replica"]),
];

/// Crates from outside that only one crate of ours may use, by the start of their names.
const SOLE_USERS: [(&str, &str); 8] = [
    ("sqlx", "placard-storage"),
    ("redis", "placard-storage"),
    ("rusqlite", "placard-storage"),
    ("apalis", "placard-scheduler"),
    ("axum", "placard-api"),
    ("tower-http", "placard-api"),
    ("utoipa", "placard-api"),
    ("opentelemetry", "placard-telemetry"),
];

fn main() -> ExitCode {
    let metadata = match metadata() {
        Ok(metadata) => metadata,
        Err(error) => {
            eprintln!("check-layers: {error}");
            return ExitCode::FAILURE;
        }
    };
    let wrong: Vec<_> = list(&metadata["packages"]).iter().flat_map(arrows).collect();
    wrong.iter().for_each(|arrow| eprintln!("check-layers: {arrow}"));
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn metadata() -> Result<Value, Box<dyn std::error::Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The arrows of a package that should not be there.
fn arrows(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let Some((_, known)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
        return vec![format!("{name} is in no layer")];
    };
    // What only tests are built with may use what the tests need.
    let for_tests = name == "placard-testkit";
    let real = list(&package["dependencies"]).iter().filter(|on| on["kind"] != "dev");
    real.filter_map(|on| {
        let on = on["name"].as_str()?;
        let inside = on == "placard" || on.starts_with("placard-");
        if inside && !known.contains(&on) {
            return Some(format!("{name} must not know {on}"));
        }
        let sole = SOLE_USERS
            .iter()
            .find(|(prefix, user)| on.starts_with(prefix) && *user != name && !for_tests);
        sole.map(|(_, user)| format!("{name} must not use {on}: only {user} does"))
    })
    .collect()
}
