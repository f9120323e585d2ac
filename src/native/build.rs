//! Compiles bpf/*.bpf.c and generates the skeletons: the objects are embedded in the extension and the wire
//! types of bpf/include/events.h come from their BTF.

#[cfg(feature = "capture")]
fn main() {
    use libbpf_cargo::SkeletonBuilder;
    use std::{env, path::PathBuf};

    let bpf =
        PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../bpf");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let arch = match env::var("CARGO_CFG_TARGET_ARCH")
        .expect("cargo sets it")
        .as_str()
    {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        other => panic!("otel-ebpf has no BPF programs for {other}"),
    };
    SkeletonBuilder::new()
        .source(bpf.join("capture.bpf.c"))
        .clang_args([
            format!("-I{}", bpf.join("include").display()),
            // libbpf's own headers, handed on by libbpf-sys (`links = "bpf"`)
            format!(
                "-I{}",
                env::var("DEP_BPF_INCLUDE").expect("libbpf-sys sets it")
            ),
            format!("-D__TARGET_ARCH_{arch}"),
            "-mcpu=v3".into(),
            "-Wall".into(),
            "-Werror".into(),
            "-Wno-unused-function".into(),
        ])
        .build_and_generate(out.join("capture.skel.rs"))
        .unwrap_or_else(|e| panic!("compiling bpf/capture.bpf.c (clang is needed): {e:?}"));
    println!("cargo:rerun-if-changed={}", bpf.display());
}

#[cfg(not(feature = "capture"))]
fn main() {}
