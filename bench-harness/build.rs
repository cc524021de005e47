//! Notes which compiler builds the lab: runs by different compilers are not comparable.

fn main() {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = std::process::Command::new(compiler).arg("--version").output();
    let version = version
        .map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("cargo::rustc-env=LAB_RUSTC={version}");
    println!("cargo::rerun-if-changed=build.rs");
}
