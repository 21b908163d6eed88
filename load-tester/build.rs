//! Remembers which compiler built the tester, because a result without its compiler cannot be reproduced.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=BUILT_WITH_RUSTC={}", rustc_version().unwrap_or_else(|| "unknown".to_owned()));
    println!(
        "cargo::rustc-env=BUILT_PROFILE={}",
        env::var("PROFILE").unwrap_or_else(|_| "unknown".to_owned())
    );
}

fn rustc_version() -> Option<String> {
    let output = Command::new(env::var_os("RUSTC")?).arg("--version").output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
