"""The names that secrets have, and the shapes of well-known tokens: the one list for every place in the log.

A new row says where it comes from. It needs no test of its own: tests/logs/test_redaction.py reads this list.
"""

# Written in small letters, as words: between two of them there may be "-", "_", "." or a space.

# Their whole line is secret. RFC 9110 §11.6.2, RFC 6265 §5.4.
HEADERS = ("authorization", "authorisation", "cookie")

# Anywhere in a name: "db_password", "X-Api-Key", "PHPSESSID", "refresh_token".
NAMES = (
    "passw", "passphrase", "passcode", "pwd", "token", "secret", "signature", "credential", "api key",
    "private key", "access key", "account key", "signing key", "encryption key", "idempotency key",
    # "Password" in other languages. "passw" has the German, Danish and Swedish loan words.
    "kennwort", "contraseña", "palavra passe", "mot de passe", "wachtwoord", "lösenord", "adgangskode", "salasana",
    # Azure: https://learn.microsoft.com/azure/api-management/api-management-subscriptions, and Functions' access keys
    "subscription key", "functions key",
    # OAuth 2: RFC 7636 §4.5, RFC 7521 §4.2, RFC 8628 §3.4; OAuth 1: RFC 5849 §2.3. Its id_token and so on are "token".
    "code verifier", "client assertion", "device code", "oauth verifier",
    # SAML 2.0 Bindings §3.4, §3.5 and §3.6
    "samlresponse", "samlrequest", "samlart",
    # Cookies of PHP (session.name), Java servlets (JSESSIONID), ASP.NET and ASP (ASPSESSIONID...), Django (sessionid),
    # Express (connect.sid), WordPress; most others have "session" or "token".
    "session id", "sess id", "connect sid", "aspxauth", "aspnetcore", "wordpress logged in",
    # Opens a resumable upload: https://cloud.google.com/storage/docs/resumable-uploads#session-uris
    "upload id",
)  # fmt: skip

# Only as the end of a name, as in "__Host-session" and "user_pass": in the middle they are common words.
LAST_WORDS = (
    "pass", "sig", "auth", "session", "jwt", "otp", "totp", "csrf", "xsrf", "psk", "senha", "heslo", "haslo",
)  # fmt: skip

# Only as the name of a query's or a form's parameter: an API key, what OAuth 2 hands out (RFC 6749 §4.1.2, RFC 7521
# §4.1, RFC 8628 §3.3), a session's id.
PARAMETERS = ("code", "key", "refresh", "assertion", "user code", "sid")

# How a token begins, the rest of it as a pattern, and who says so. Each rest has a bounded part that may fail, and
# after it only what can't: so the search is linear in time. "gitleaks" and "detect-secrets" are their public rules.
TOKENS = (
    # RFC 7519 §3, RFC 7515 §7.1, RFC 7516 §7.1. It begins where a run of its letters does: else it is searched often
    (("eyJ",), r"(?:(?<![\w-]eyJ)|(?<=\\[nrt]eyJ))[\w-]{5,}(?:\.[\w-]*){1,4}"),
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
    (("AKIA", "ASIA", "ABIA", "ACCA"), r"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    (("AIza",), r"[\w-]{35,}"),  # Google API key: gitleaks, detect-secrets
    (("ya29.", "GOCSPX-", "1//0"), r"[\w-]{20,}"),  # Google OAuth: access token, client's secret, refresh token
    # https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/
    (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"[A-Za-z0-9]{30,}"),
    (("github_pat_",), r"\w{22,}"),
    # https://docs.gitlab.com/security/tokens/#token-prefixes
    (("glpat-", "gloas-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-", "glsoat-", "glffct-"),
     r"[\w-]{20,}[\w.-]*"),
    # https://api.slack.com/authentication/token-types, https://api.slack.com/messaging/webhooks
    (("xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxo-", "xoxe-", "xoxe.", "xoxc-", "xoxd-", "xapp-", "xwfp-"),
     r"[\w%.-]{10,}"),
    (("hooks.slack.com/services/", "hooks.slack.com/workflows/", "hooks.slack.com/triggers/"), r"[\w/-]{20,}"),
    (("sk_live_", "sk_test_", "rk_live_", "rk_test_"), r"[A-Za-z0-9]{10,}"),  # https://docs.stripe.com/keys
    # base64: https://docs.stripe.com/webhooks/signature, https://github.com/standard-webhooks/standard-webhooks
    (("whsec_",), r"[A-Za-z0-9+/]{20,}=*"),
    # OpenAI, Anthropic and others: gitleaks. A digit early on tells it from a name of words.
    (("sk-",), r"(?=[A-Za-z_-]{0,30}[0-9])[\w-]{20,}"),
    (("npm_",), r"[A-Za-z0-9]{36,}"),  # https://docs.npmjs.com/about-access-tokens; gitleaks
    (("pypi-",), r"[\w-]{50,}"),  # https://pypi.org/help/#apitoken; gitleaks
    (("hf_",), r"[A-Za-z0-9]{30,}"),  # Hugging Face: gitleaks
    (("SG.",), r"[\w-]{16,32}\.[\w-]{16,}"),  # SendGrid: detect-secrets
    (("dop_v1_", "doo_v1_", "dor_v1_"), r"[0-9a-f]{64,}"),  # DigitalOcean: gitleaks
    (("hvs.", "hvb.", "hvr."), r"[\w-]{24,}"),  # https://developer.hashicorp.com/vault/docs/concepts/tokens
    (("dckr_pat_", "dckr_oat_"), r"[\w-]{20,}"),  # Docker Hub: gitleaks
    (("shpat_", "shpca_", "shppa_", "shpss_"), r"[0-9a-fA-F]{32,}"),  # Shopify: gitleaks
    (("glsa_",), r"\w{32,}"),  # Grafana's service accounts: gitleaks
    (("glc_",), r"[A-Za-z0-9+/]{32,}=*"),  # Grafana Cloud, base64: gitleaks
    (("dapi",), r"[0-9a-f]{32,}"),  # Databricks: gitleaks
    (("ATATT3",), r"[\w=-]{20,}"),  # Atlassian: gitleaks
    (("AGE-SECRET-KEY-1",), r"[A-Z0-9]{58,}"),  # https://age-encryption.org/v1
)  # fmt: skip
