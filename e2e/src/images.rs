//! Builds the images from release binaries, and sees to it that they stay small and run on their base.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{command, output, run as run_command};

/// What an image may add to its base.
const LARGEST_ADDITION: u64 = 40 << 20;
/// glibc of Debian 12, which the default base is made of: no binary may ask for a later one.
const GLIBC: (u32, u32) = (2, 36);
/// Where the broker's image keeps its data unless it is told otherwise.
const DATA_DIR: &str = "var/lib/taffrail";

/// How images are built, and what becomes of them.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Options {
    /// The image that both are built on: glibc of Debian 12 or later, libgcc, and nothing else is needed
    #[arg(
        long,
        value_name = "IMAGE",
        env = "TAFFRAIL_IMAGE_BASE",
        default_value = "gcr.io/distroless/cc-debian12:nonroot"
    )]
    pub base: String,
    /// The tag of both images, beside that of the release
    #[arg(long, default_value = "dev")]
    pub tag: String,
    /// Load them into the kind cluster of this name
    #[arg(long, value_name = "NAME")]
    pub load: Option<String>,
}

/// One image: its name, which is the Dockerfile's target and the directory in the context, and what it holds.
struct Image {
    target: &'static str,
    package: &'static str,
    binary: &'static str,
}

const IMAGES: [Image; 2] = [
    Image { target: "broker", package: "taffrail-server", binary: "taffrail" },
    Image { target: "operator", package: "taffrail-operator", binary: "taffrail-operator" },
];

/// Builds both images, and loads them where that is asked for.
///
/// # Errors
///
/// If one cannot be built, adds more than 40 MiB to its base, or does not run on it.
pub async fn run(options: &Options) -> Result<()> {
    let context = tempfile::Builder::new().prefix("taffrail-images-").tempdir()?;
    for image in &IMAGES {
        let binary = release_binary(image.package, image.binary).await?;
        stage(&binary, &context.path().join(image.target), image.binary).await?;
    }
    // Made beforehand, as the base has no shell to make it with: whoever the container runs as may write there.
    let data_dir = context.path().join("broker").join(DATA_DIR);
    fs::create_dir_all(&data_dir)?;
    fs::set_permissions(&data_dir, Permissions::from_mode(0o1777))?;
    let mut names = Vec::new();
    for image in &IMAGES {
        let name = format!("taffrail/{}:{}", image.target, options.tag);
        build(&name, image.target, &options.base, context.path()).await?;
        let added = size(&name).await?.saturating_sub(size(&options.base).await?);
        println!("{name:<24} adds {:.1} MiB to {}", added as f64 / f64::from(1 << 20), options.base);
        if added > LARGEST_ADDITION {
            bail!("{name} adds {added} bytes to its base; {LARGEST_ADDITION} are allowed");
        }
        let version =
            output(&mut command("docker", ["run", "--rm", "--read-only", &name, "--version"])).await;
        let version = version.with_context(|| format!("{name} does not run on {}", options.base))?;
        println!("{:<24} runs: {}", "", version.trim());
        // What charts and LogClusters name that say nothing else.
        let released = format!("taffrail/{}:{}", image.target, env!("CARGO_PKG_VERSION"));
        output(&mut command("docker", ["tag", &name, &released])).await?;
        names.extend([name, released]);
    }
    match &options.load {
        Some(cluster) => load(&names, cluster).await,
        None => Ok(()),
    }
}

/// Builds a binary for release and returns its path.
///
/// # Errors
///
/// If it does not build.
pub(crate) async fn release_binary(package: &str, binary: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let arguments = ["build", "--release", "--locked", "-p", package, "--bin", binary];
    let mut build = tokio::process::Command::new(cargo);
    build.args(arguments).args(["--quiet", "--message-format=json-render-diagnostics"]);
    build.current_dir(workspace()).stderr(std::process::Stdio::inherit());
    // The last message that names an executable is that of the binary: all others are of what it is made with.
    let messages = output(&mut build).await?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executable = messages.filter(|message| message["target"]["name"] == binary);
    let mut path = executable.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    let path = path.next_back();
    path.with_context(|| format!("cargo built no binary {binary} of {package}"))
}

/// Puts a binary, without what only a debugger reads, into `root` where the image shall have it. Names of functions
/// stay, for the sake of backtraces.
async fn stage(binary: &Path, root: &Path, name: &str) -> Result<()> {
    let directory = root.join("usr/local/bin");
    fs::create_dir_all(&directory)?;
    let staged = directory.join(name);
    strip(binary, &staged).await?;
    let needs = glibc(&staged).await?;
    if needs > GLIBC {
        let ((major, minor), (most, least)) = (needs, GLIBC);
        bail!(
            "{name} needs glibc {major}.{minor}, and images may need {most}.{least}: build it on Debian 12"
        );
    }
    Ok(())
}

/// Copies a binary without what only a debugger reads.
pub(crate) async fn strip(binary: &Path, to: &Path) -> Result<()> {
    let mut strip = command("strip", ["--strip-debug", "-o"]);
    run_command(strip.arg(to).arg(binary)).await
}

/// The highest version of glibc that a binary asks for.
async fn glibc(binary: &Path) -> Result<(u32, u32)> {
    let symbols = output(command("objdump", ["--dynamic-syms"]).arg(binary)).await?;
    highest_glibc(&symbols).with_context(|| format!("{} asks for no glibc", binary.display()))
}

fn highest_glibc(symbols: &str) -> Option<(u32, u32)> {
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let mut numbers = rest[..end].split('.');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    });
    versions.max()
}

/// Builds one target of the Dockerfile.
async fn build(name: &str, target: &str, base: &str, context: &Path) -> Result<()> {
    let mut build = command("docker", ["build", "--quiet", "--target", target, "--tag", name]);
    build.arg("--build-arg").arg(format!("BASE={base}"));
    build.arg("--build-arg").arg(format!("VERSION={}", env!("CARGO_PKG_VERSION")));
    build.arg("--file").arg(workspace().join("operator/Dockerfile")).arg(context);
    output(&mut build).await.map(drop)
}

/// The bytes of an image.
async fn size(image: &str) -> Result<u64> {
    let size = output(&mut command("docker", ["image", "inspect", "--format", "{{.Size}}", image])).await?;
    size.trim().parse().with_context(|| format!("the size of {image} is {size}"))
}

/// Gives images to every node of a kind cluster.
pub(crate) async fn load(images: &[String], cluster: &str) -> Result<()> {
    let mut load = command("kind", ["load", "docker-image", "--quiet", "--name", cluster]);
    output(load.args(images)).await.map(drop)
}

/// The directory of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use super::highest_glibc;

    #[test]
    fn the_highest_version_counts_by_number_and_not_by_text() {
        let symbols =
            "0 DF *UND* 0 (GLIBC_2.4) a\n0 DF *UND* 0 (GLIBC_2.34) b\n0 DF *UND* 0 (GLIBC_2.2.5) c\n";
        assert_eq!(highest_glibc(symbols), Some((2, 34)));
        assert_eq!(highest_glibc("0 DF *UND* 0 (GCC_3.0) a"), None);
    }
}
