//! Writes the YAML of all custom resource definitions beside this crate's sources (`cargo crdgen`).

use std::error::Error;
use std::path::Path;
use std::{fs, io};

use taffrail_crds::generate::{definitions, file_name, yaml};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let failed =
        |verb: &str, path: &Path, source: io::Error| format!("cannot {verb} {}: {source}", path.display());
    let definitions = definitions();
    for entry in fs::read_dir(directory).map_err(|source| failed("list", directory, source))? {
        let path = entry.map_err(|source| failed("list", directory, source))?.path();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml");
        if is_yaml && !definitions.iter().any(|definition| path.ends_with(file_name(definition))) {
            fs::remove_file(&path).map_err(|source| failed("remove", &path, source))?;
        }
    }
    for definition in &definitions {
        let path = directory.join(file_name(definition));
        fs::write(&path, yaml(definition)?).map_err(|source| failed("write", &path, source))?;
    }
    Ok(())
}
