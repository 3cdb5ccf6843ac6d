//! The rules of the custom resources, as a real API server applies them.

use anyhow::{Context, Result, bail, ensure};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, PostParams};
use serde::Deserialize;
use serde_json::{Value, json};
use taffrail_crds::{GROUP, VERSION};

use super::Stage;

const FILES: [&str; 2] = [
    include_str!("../../../crds/tests/admission/topic.yaml"),
    include_str!("../../../crds/tests/admission/logcluster.yaml"),
];

/// One of the files, which tell at their heads how they are meant.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    kind: String,
    base: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    name: Option<String>,
    before: Option<Value>,
    spec: Value,
    refused: Option<String>,
    malformed: Option<String>,
    /// Says nothing here: the API server pairs list items by their keys.
    #[serde(rename = "byKey")]
    _by_key: Option<bool>,
}

impl Cases {
    fn object(&self, case: &Case, over: &Value) -> Result<DynamicObject> {
        let mut spec = self.base.clone();
        for (key, value) in over.as_object().context("a spec is a map")? {
            spec[key] = value.clone();
        }
        let name = case.name.as_deref().unwrap_or("a-name");
        Ok(serde_json::from_value(json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": self.kind,
            "metadata": { "name": name },
            "spec": spec,
        }))?)
    }
}

/// Each case ends as it says, with the sentence it says.
pub(crate) async fn admission(stage: Stage<'_>) -> Result<String> {
    let definitions = taffrail_crds::generate::definitions();
    let (mut admitted, mut refused, mut malformed) = (0, 0, 0);
    let mut wrong = Vec::new();
    for file in FILES {
        let cases: Cases = serde_yaml_ng::from_str(file)?;
        let names = definitions.iter().map(|definition| &definition.spec.names);
        let names = names.into_iter().find(|names| names.kind == cases.kind);
        let resource = ApiResource {
            group: GROUP.to_owned(),
            version: VERSION.to_owned(),
            api_version: format!("{GROUP}/{VERSION}"),
            kind: cases.kind.clone(),
            plural: names.context("a kind of cases is a kind of ours")?.plural.clone(),
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(stage.plane.client()?, &stage.namespace, &resource);
        for case in &cases.cases {
            let answer = put(&api, &cases, case).await?;
            let (expected, count) = match (&case.refused, &case.malformed) {
                (None, None) => (None, &mut admitted),
                (Some(part), _) => (Some(part), &mut refused),
                (None, Some(part)) => (Some(part), &mut malformed),
            };
            *count += 1;
            match (expected, answer) {
                (None, Ok(())) => {}
                (Some(part), Err(message)) if message.contains(part.as_str()) => {}
                (_, answer) => wrong.push(format!("{}, {}: {answer:?}", cases.kind, case.case)),
            }
        }
    }
    ensure!(wrong.is_empty(), "expected otherwise:\n  {}", wrong.join("\n  "));
    Ok(format!("{admitted} admitted, {refused} refused by rules, {malformed} by the schema"))
}

/// Whether the API server would take the case's object, or why not.
async fn put(api: &Api<DynamicObject>, cases: &Cases, case: &Case) -> Result<Result<(), String>> {
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let mut object = cases.object(case, &case.spec)?;
    let name = object.name_any();
    let answer = match &case.before {
        None => api.create(&dry, &object).await,
        Some(before) => {
            let before = cases.object(case, before)?;
            let made = api.create(&PostParams::default(), &before).await;
            let made = made.with_context(|| format!("what was before {}", case.case))?;
            object.metadata.resource_version = made.resource_version();
            let answer = api.replace(&name, &dry, &object).await;
            api.delete(&name, &DeleteParams::default()).await?;
            answer
        }
    };
    match answer {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status)) if status.code == 422 => Ok(Err(status.message)),
        Err(error) => bail!("{}, {}: {error}", cases.kind, case.case),
    }
}
