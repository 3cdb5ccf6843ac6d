//! The operator's own certificate authority.
//!
//! Its key is in a Secret that the first operator makes; whoever deletes it and restarts the operators has another
//! authority from then on. Each operator signs a certificate for itself when it starts, so that no key but the authority's
//! is kept anywhere. Brokers read the authority's certificate from a ConfigMap, again at each connection.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use taffrail_control::grpc::CONTROLLER_NAME;
use tokio::time::timeout;

/// How long one call of the API may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// The Secret's entries, named as Kubernetes names them in a Secret for TLS.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// The Secret's type.
const TYPE: &str = "kubernetes.io/tls";

/// There is no authority to sign anything.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant says in its sentence what its fields are")]
pub enum AuthorityError {
    #[error("the Kubernetes API did not answer in time about Secret {secret}")]
    NoAnswer { secret: String },
    #[error("cannot read or make Secret {secret}, which holds the key of the operator's authority: {source}")]
    Api { secret: String, source: Box<kube::Error> },
    #[error(
        "Secret {secret} holds no authority ({problem}); delete it, so that another is made, and restart the operators"
    )]
    Content { secret: String, problem: String },
    #[error("cannot sign a certificate: {0}")]
    Sign(#[from] rcgen::Error),
    #[error("cannot use the certificate that was signed: {0}")]
    Use(#[from] rustls::Error),
}

/// The authority's certificate and key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    certificate: String,
    key: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(…)")
    }
}

impl Authority {
    /// The authority that is in the Secret `name`, or a new one, which is then there.
    ///
    /// # Errors
    /// If the Kubernetes API cannot be asked, or there is something else in the Secret.
    pub async fn load_or_make(client: &Client, namespace: &str, name: &str) -> Result<Self, AuthorityError> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let shown = format!("{namespace}/{name}");
        let api = |source| AuthorityError::Api { secret: shown.clone(), source: Box::new(source) };
        let no_answer = |_| AuthorityError::NoAnswer { secret: shown.clone() };
        loop {
            let found = timeout(DEADLINE, secrets.get_opt(name)).await.map_err(no_answer)?.map_err(api)?;
            if let Some(secret) = found {
                let content = Self::in_secret(&secret);
                return content.map_err(|problem| AuthorityError::Content { secret: shown, problem });
            }
            let made = Self::make()?;
            let secret = made.secret(name);
            let post = PostParams::default();
            match timeout(DEADLINE, secrets.create(&post, &secret)).await.map_err(no_answer)? {
                Ok(_) => {
                    tracing::info!("made an authority for connections of brokers, in Secret {shown}");
                    return Ok(made);
                }
                // Another operator was faster; its authority holds.
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                Err(error) => return Err(api(error)),
            }
        }
    }

    /// Its certificate, as PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// What a server needs that shows a certificate of this authority for [`CONTROLLER_NAME`]. The key is new.
    ///
    /// # Errors
    /// If the authority's key cannot be used.
    pub fn server_config(&self) -> Result<ServerConfig, AuthorityError> {
        let issuer = Issuer::new(Self::params()?, KeyPair::from_pem(&self.key)?);
        let mut params = CertificateParams::new(vec![CONTROLLER_NAME.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, CONTROLLER_NAME);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = rustls::crypto::ring::default_provider().into();
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_no_client_auth();
        Ok(config.with_single_cert(vec![certificate.der().clone()], key.into())?)
    }

    fn make() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = Self::params()?.self_signed(&key)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// All of the authority but its key: the same each time, so that what it signs fits its certificate.
    fn params() -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "taffrail-operator");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(params)
    }

    fn in_secret(secret: &Secret) -> Result<Self, String> {
        let entry = |name: &str| {
            let bytes = secret.data.as_ref().and_then(|data| data.get(name));
            let bytes = bytes.ok_or_else(|| format!("it has no entry {name}"))?;
            String::from_utf8(bytes.0.clone()).map_err(|_| format!("its entry {name} is not PEM"))
        };
        let found = Self { certificate: entry(CERTIFICATE)?, key: entry(KEY)? };
        KeyPair::from_pem(&found.key).map_err(|error| format!("its entry {KEY}: {error}"))?;
        Ok(found)
    }

    fn secret(&self, name: &str) -> Secret {
        let entry = |name: &str, text: &str| (name.to_owned(), ByteString(text.as_bytes().to_vec()));
        let labels =
            [("app.kubernetes.io/name", "taffrail"), ("app.kubernetes.io/managed-by", "taffrail-operator")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(BTreeMap::from(labels)),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([entry(CERTIFICATE, &self.certificate), entry(KEY, &self.key)])),
            type_: Some(TYPE.to_owned()),
            ..Secret::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

    use super::*;

    /// Whether a client that trusts the authority in `certificate` accepts the server.
    fn accepts(certificate: &str, server: ServerConfig, name: &'static str) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(name).unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        while client.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            if server.process_new_packets().is_err() {
                return false;
            }
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            client.read_tls(&mut wire.as_slice()).unwrap();
            if client.process_new_packets().is_err() {
                return false;
            }
        }
        true
    }

    #[test]
    fn what_an_authority_signs_after_a_restart_is_believed_by_who_knows_its_certificate() {
        let authority = Authority::make().unwrap();
        let again = Authority::in_secret(&authority.secret("s")).unwrap();
        assert_eq!(again, authority);
        assert!(accepts(authority.certificate(), again.server_config().unwrap(), CONTROLLER_NAME));
        assert!(!accepts(authority.certificate(), again.server_config().unwrap(), "other.example"));
        let other = Authority::make().unwrap();
        assert!(!accepts(other.certificate(), again.server_config().unwrap(), CONTROLLER_NAME));
        assert!(!format!("{authority:?}").contains("KEY"));
    }

    #[test]
    fn a_secret_with_something_else_in_it_is_refused() {
        let authority = Authority::make().unwrap();
        let mut secret = authority.secret("s");
        secret.data.as_mut().unwrap().insert(KEY.to_owned(), ByteString(b"x".to_vec()));
        assert!(Authority::in_secret(&secret).unwrap_err().starts_with("its entry tls.key: "));
        secret.data.as_mut().unwrap().remove(KEY);
        assert_eq!(Authority::in_secret(&secret).unwrap_err(), "it has no entry tls.key");
    }
}
