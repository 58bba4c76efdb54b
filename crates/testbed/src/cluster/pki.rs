//! The cluster's certificate authority, its certificates, and kubeconfigs made from them.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

/// Signs every certificate of one cluster and keeps the files in one directory.
pub(super) struct Pki {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    authority: String,
}

impl Pki {
    /// Makes an authority, a serving certificate for `addresses` and a service account key in `directory`.
    pub(super) fn new(directory: PathBuf, addresses: &[IpAddr]) -> Result<Self> {
        fs::create_dir_all(&directory)?;
        let key = KeyPair::generate()?;
        let mut params = named("meshlift-testbed", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let authority = params.self_signed(&key)?.pem();
        fs::write(directory.join("ca.crt"), &authority)?;
        fs::write(directory.join("ca.key"), key.serialize_pem())?;
        let pki = Pki {
            directory,
            issuer: Issuer::new(params, key),
            authority,
        };
        pki.serving(addresses)?;
        let account = KeyPair::generate()?;
        fs::write(pki.file("sa.key"), account.serialize_pem())?;
        fs::write(pki.file("sa.pub"), account.public_key_pem())?;
        Ok(pki)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn serving(&self, addresses: &[IpAddr]) -> Result<()> {
        let mut params = named("kube-apiserver", None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ] {
            params
                .subject_alt_names
                .push(SanType::DnsName(name.try_into()?));
        }
        params
            .subject_alt_names
            .extend(addresses.iter().map(|a| SanType::IpAddress(*a)));
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        fs::write(self.file("apiserver.crt"), certificate.pem())?;
        fs::write(self.file("apiserver.key"), key.serialize_pem())?;
        Ok(())
    }

    /// Writes a kubeconfig to `path` that speaks to `server` as `user` in `groups`, by a client certificate.
    pub(super) fn kubeconfig(
        &self,
        path: &Path,
        server: SocketAddr,
        user: &str,
        groups: &[&str],
    ) -> Result<()> {
        if groups.len() > 1 {
            bail!(
                "user {user} has {} groups: certificates made here carry at most one",
                groups.len()
            );
        }
        let mut params = named(user, groups.first().copied());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "testbed", "cluster": {
                "server": format!("https://{server}"),
                "certificate-authority-data": BASE64.encode(&self.authority),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate-data": BASE64.encode(certificate),
                "client-key-data": BASE64.encode(key.serialize_pem()),
            }}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user}}],
            "current-context": "testbed",
        });
        fs::write(path, serde_yaml_ng::to_string(&config)?)?;
        // It holds a key.
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(())
    }
}

fn named(name: &str, group: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
    }
    params
}
