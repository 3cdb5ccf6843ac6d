//! Which release the brokers of a cluster run.

use taffrail_crds::LogCluster;

use super::build::Release;
use super::build::names::VERSION;

/// The numbers of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// Of `0.1.0` or `0.1.0-rc.1`; what comes after the numbers is of no account.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('-').next()?.split('.').map(|number| number.parse().ok());
        let version = Self { major: numbers.next()??, minor: numbers.next()??, patch: numbers.next()?? };
        numbers.next().is_none().then_some(version)
    }

    /// Without fixes.
    pub fn minor_release(self) -> (u32, u32) {
        (self.major, self.minor)
    }
}

/// The release that is asked for, or was recorded when the cluster was made. Nothing for a cluster that is new.
pub fn recorded(cluster: &LogCluster) -> Option<&str> {
    let annotated = || cluster.metadata.annotations.as_ref()?.get(VERSION);
    cluster.spec.version.as_ref().or_else(annotated).map(String::as_str)
}

/// What the brokers shall run, where `image` is that of the operator for that version.
pub fn release(cluster: &LogCluster, version: &str, image: String, pull_policy: Option<&str>) -> Release {
    let image = cluster.spec.image.clone().unwrap_or(image);
    Release { version: version.to_owned(), image, pull_policy: pull_policy.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("0.9.0") < version("0.10.0"));
        assert_eq!(version("1.2.3-rc.1"), version("1.2.3"));
        for bad in ["", "1", "1.2", "1.2.x", "1.2.3.4", "v1.2.3"] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
    }
}
