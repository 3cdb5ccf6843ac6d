//! Brokers show the token of their pod's ServiceAccount, and the Kubernetes API says whose it is.
//!
//! The API is asked once for a token: its answer holds until the token expires, so that no session depends on the API
//! being there. Cluster and broker id follow from the pod that the token was made for: pod `NAME-3` with ServiceAccount
//! `NAME` is broker 3 of LogCluster `NAME` in its namespace.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use serde::Deserialize;
use taffrail_controller_service::{Caller, Doorkeeper};
use tokio::time::timeout;
use tonic::Status;

use super::AUDIENCE;
use crate::fleet::ClusterKey;

/// How long the API may take.
const DEADLINE: Duration = Duration::from_secs(3);
/// Tokens whose review is remembered: several for each broker of all clusters.
const MOST_REMEMBERED: usize = 8192;
/// Longer than any token of a ServiceAccount.
const LONGEST_TOKEN: usize = 16 * 1024;
/// Where the review says which pod a token was made for.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";

/// Lets in whoever shows the token of a broker's pod.
pub struct TokenReviewer {
    reviews: Api<TokenReview>,
    remembered: Mutex<BTreeMap<String, Remembered>>,
}

struct Remembered {
    caller: Caller,
    until: SystemTime,
}

impl TokenReviewer {
    /// Asks through `client`.
    pub fn new(client: Client) -> Self {
        Self { reviews: Api::all(client), remembered: Mutex::default() }
    }

    fn recall(&self, token: &str) -> Option<Caller> {
        let remembered = self.remembered.lock();
        let known = remembered.get(token).filter(|known| known.until > SystemTime::now());
        known.map(|known| known.caller.clone())
    }

    fn remember(&self, token: &str, caller: &Caller) {
        let Some(until) = expiry(token) else { return };
        let mut remembered = self.remembered.lock();
        let now = SystemTime::now();
        remembered.retain(|_, known| known.until > now);
        if remembered.len() >= MOST_REMEMBERED {
            let first =
                remembered.iter().min_by_key(|(_, known)| known.until).map(|(token, _)| token.clone());
            first.map(|token| remembered.remove(&token));
        }
        remembered.insert(token.to_owned(), Remembered { caller: caller.clone(), until });
    }

    async fn review(&self, token: &str) -> Result<Caller, Status> {
        let spec = TokenReviewSpec { audiences: Some(vec![AUDIENCE.to_owned()]), token: token.to_owned() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let post = PostParams::default();
        let answer = match timeout(DEADLINE, self.reviews.create(&post, &review)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::warn!("the Kubernetes API cannot review a broker's token: {error}");
                return Err(Status::unavailable("the Kubernetes API cannot review the token; try again"));
            }
            Err(_elapsed) => {
                return Err(Status::unavailable(
                    "the Kubernetes API did not review the token in time; try again",
                ));
            }
        };
        caller(&answer.status.unwrap_or_default()).map_err(Status::unauthenticated)
    }
}

#[tonic::async_trait]
impl Doorkeeper for TokenReviewer {
    async fn admit(&self, shown: Option<&str>) -> Result<Caller, Status> {
        let Some(token) = shown.filter(|token| token.len() <= LONGEST_TOKEN) else {
            return Err(Status::unauthenticated(
                "the broker showed no token of its pod's ServiceAccount; name the file that holds it with \
                 --controller-token-file",
            ));
        };
        if let Some(caller) = self.recall(token) {
            return Ok(caller);
        }
        let caller = self.review(token).await?;
        self.remember(token, &caller);
        Ok(caller)
    }
}

/// Whose token it was, by the answer of the API.
fn caller(review: &TokenReviewStatus) -> Result<Caller, String> {
    if review.authenticated != Some(true) {
        let why = review.error.as_deref().unwrap_or("it is not one of this cluster's, or has expired");
        return Err(format!("the broker's token is not valid: {why}"));
    }
    let audiences = review.audiences.as_deref().unwrap_or_default();
    if !audiences.iter().any(|audience| audience == AUDIENCE) {
        return Err(format!("the broker's token was not made out for the audience {AUDIENCE}"));
    }
    let user = review.user.clone().unwrap_or_default();
    let (cluster, broker_id) = broker(&user).ok_or_else(|| {
        let name = user.username.unwrap_or_default();
        format!("the token of {name} is not that of a broker's pod, NAME-0 with ServiceAccount NAME")
    })?;
    Ok(Caller::Broker { cluster: cluster.to_string(), broker_id })
}

/// Which broker the user is, if it is one.
fn broker(user: &UserInfo) -> Option<(ClusterKey, i32)> {
    let account = user.username.as_deref()?.strip_prefix("system:serviceaccount:")?;
    let (namespace, name) = account.split_once(':')?;
    let pod = user.extra.as_ref()?.get(POD_NAME)?.first()?;
    let ordinal = pod.strip_prefix(name)?.strip_prefix('-')?;
    let broker_id: i32 = ordinal.parse().ok().filter(|id| *id >= 0)?;
    // As StatefulSets number pods, and no other way.
    (broker_id.to_string() == ordinal).then(|| (ClusterKey::new(namespace, name), broker_id))
}

/// When the token expires, by its own word: the API has just said that it is sound.
fn expiry(token: &str) -> Option<SystemTime> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(exp))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(account: &str, pod: &str) -> UserInfo {
        UserInfo {
            username: Some(format!("system:serviceaccount:{account}")),
            extra: Some(BTreeMap::from([(POD_NAME.to_owned(), vec![pod.to_owned()])])),
            ..UserInfo::default()
        }
    }

    fn review(user: UserInfo) -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(vec![AUDIENCE.to_owned()]),
            user: Some(user),
            ..TokenReviewStatus::default()
        }
    }

    #[test]
    fn cluster_and_broker_follow_from_the_pod() {
        let known = caller(&review(user("shop:orders", "orders-12")));
        assert_eq!(known, Ok(Caller::Broker { cluster: "shop/orders".into(), broker_id: 12 }));
        for (account, pod) in [
            ("shop:orders", "orders"),
            ("shop:orders", "orders-x"),
            ("shop:orders", "orders-01"),
            ("shop:orders", "orders--1"),
            ("shop:orders", "orders-99999999999"),
            ("shop:default", "orders-1"),
            ("shop", "orders-1"),
        ] {
            let refused = caller(&review(user(account, pod))).unwrap_err();
            assert!(refused.contains("is not that of a broker's pod"), "{account} {pod}: {refused}");
        }
        let no_pod = UserInfo { extra: None, ..user("shop:orders", "orders-1") };
        assert!(caller(&review(no_pod)).is_err());
        let stranger = UserInfo { username: Some("orders".into()), ..user("shop:orders", "orders-1") };
        assert!(caller(&review(stranger)).is_err());
    }

    #[test]
    fn a_token_that_is_not_valid_or_for_somebody_else_is_refused() {
        let sound = review(user("shop:orders", "orders-1"));
        let expired = TokenReviewStatus {
            authenticated: Some(false),
            error: Some("token has expired".into()),
            ..sound.clone()
        };
        let refused = caller(&expired).unwrap_err();
        assert_eq!(refused, "the broker's token is not valid: token has expired");
        let others = TokenReviewStatus { audiences: Some(vec!["vault".into()]), ..sound.clone() };
        assert!(caller(&others).unwrap_err().contains("audience controller.taffrail.dev"));
        assert!(caller(&TokenReviewStatus { audiences: None, ..sound }).is_err());
        assert!(caller(&TokenReviewStatus::default()).is_err());
    }

    #[test]
    fn a_token_says_itself_when_it_expires() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"aud":["a"],"exp":1700000000}"#);
        let until = expiry(&format!("e30.{claims}.c2ln")).unwrap();
        assert_eq!(until, UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        for bad in ["", "a", "a.b.c", "e30.e30.c2ln"] {
            assert_eq!(expiry(bad), None, "{bad:?}");
        }
    }
}
