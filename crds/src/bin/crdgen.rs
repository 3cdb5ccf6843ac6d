//! Writes the YAML of all custom resource definitions (`cargo crdgen`).

use std::error::Error;
use std::path::Path;
use std::{fs, io};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use taffrail_crds::generate::{definitions, directories, file_name, yaml};

fn main() -> Result<(), Box<dyn Error>> {
    let definitions = definitions();
    directories().iter().try_for_each(|directory| write(&definitions, directory))
}

/// Makes the directory's YAML files those of the definitions.
fn write(definitions: &[CustomResourceDefinition], directory: &Path) -> Result<(), Box<dyn Error>> {
    let failed =
        |verb: &str, path: &Path, source: io::Error| format!("cannot {verb} {}: {source}", path.display());
    for entry in fs::read_dir(directory).map_err(|source| failed("list", directory, source))? {
        let path = entry.map_err(|source| failed("list", directory, source))?.path();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml");
        if is_yaml && !definitions.iter().any(|definition| path.ends_with(file_name(definition))) {
            fs::remove_file(&path).map_err(|source| failed("remove", &path, source))?;
        }
    }
    for definition in definitions {
        let path = directory.join(file_name(definition));
        fs::write(&path, yaml(definition)?).map_err(|source| failed("write", &path, source))?;
    }
    Ok(())
}
