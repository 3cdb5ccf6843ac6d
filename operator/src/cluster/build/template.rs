//! The templates of a cluster's pods, kept as they were applied.
//!
//! A pod that anybody deletes comes back by the newest template, so the template is a decision of its own: it changes when
//! people ask for other pods ([`wish_hash`]) and the roller begins to give them these, and at no other time. An operator of
//! another release that would build another template from the same wish leaves the old one until then. What is kept is the
//! template as JSON, as parts of it may be unknown to this release.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use taffrail_control::broker_config::{BrokerKey, Settable};
use taffrail_crds::LogCluster;
use twox_hash::XxHash3_64;

use super::names::TEMPLATE_HASH;
use super::{Release, config_maps, pod};

/// A template and what it was built for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// What people asked for: see [`wish_hash`].
    pub wish: String,
    /// The release that the pods run.
    pub version: String,
    /// A `PodTemplateSpec`, with its own hash in an annotation.
    pub template: serde_json::Value,
}

/// The templates of a StatefulSet; they stand in one of its annotations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Templates {
    /// What pods are made by.
    pub current: Template,
    /// What pods were made by before, while a roll goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Template>,
    /// The wish whose roll failed; it is not tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

/// A wish whose roll failed, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// See [`wish_hash`].
    pub wish: String,
    /// What went wrong, for people.
    pub why: String,
}

impl Template {
    /// The template that `cluster` asks for.
    pub fn build(cluster: &LogCluster, release: &Release) -> Self {
        let mut template = serde_json::to_value(pod::template(cluster, release)).unwrap_or_default();
        let hash = hash_of(&template);
        template["metadata"]["annotations"][TEMPLATE_HASH] = hash.into();
        Self { wish: wish_hash(cluster, release), version: release.version.clone(), template }
    }

    /// The hash that its pods carry.
    pub fn hash(&self) -> &str {
        self.template["metadata"]["annotations"][TEMPLATE_HASH].as_str().unwrap_or_default()
    }
}

impl Templates {
    /// For a cluster that has no pods yet.
    pub fn first(current: Template) -> Self {
        Self { current, previous: None, refused: None }
    }

    /// A roll to `template` begins. A roll that was not over when the next begins has shown nothing of its template, so the
    /// one before it stays what is gone back to; and who asks for that one again gets just that.
    pub fn begin(&self, template: Template) -> Self {
        let previous = self.previous.as_ref().unwrap_or(&self.current).clone();
        if previous.wish == template.wish {
            return Self::first(previous);
        }
        Self { current: template, previous: Some(previous), refused: None }
    }

    /// The roll is over.
    pub fn finish(&self) -> Self {
        Self { previous: None, ..self.clone() }
    }

    /// The roll failed: pods are made again as before. Without a template to go back to nothing changes.
    pub fn give_back(&self, why: String) -> Self {
        let Some(previous) = self.previous.clone() else { return self.clone() };
        let refused = Some(Refused { wish: self.current.wish.clone(), why });
        Self { current: previous, previous: None, refused }
    }

    /// As the annotation has it.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What [`Templates::encode`] wrote.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub fn decode(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// Tells two wishes for pods apart: the parts of a LogCluster that a pod follows from, and nothing that an operator adds.
pub fn wish_hash(cluster: &LogCluster, release: &Release) -> String {
    let spec = &cluster.spec;
    let wish = serde_json::json!({
        "version": release.version,
        "image": release.image,
        "resources": spec.brokers.resources,
        "rack": spec.brokers.rack,
        "pod": spec.brokers.pod,
        "grace": spec.brokers.termination_grace_period_seconds,
        "listeners": spec.listeners,
        "settings": restart_settings(cluster),
    });
    hash_of(&wish)
}

/// The settings that a broker reads only when it starts.
pub(super) fn restart_settings(cluster: &LogCluster) -> BTreeMap<String, String> {
    let mut settings = config_maps::broker_settings(&cluster.spec);
    settings.retain(|key, _| BrokerKey::find(key).is_none_or(|key| key.settable() == Settable::AtStart));
    settings
}

/// A hash of what `value` says. It goes into objects: the same in every release.
pub(super) fn hash_of(value: &serde_json::Value) -> String {
    format!("{:016x}", XxHash3_64::oneshot(value.to_string().as_bytes()))
}
