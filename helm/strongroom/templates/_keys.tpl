{{/*
Where the tenants' keys are: what strongroom/key_service.py reads. What a provider does not need is
refused by the schema, so that nobody believes in a setting that is not read.
*/}}
{{- define "strongroom.keysEnvironment" }}
- {name: STRONGROOM_KEYS_PROVIDER, value: {{ .provider }}}
{{- if eq .provider "local" }}
- {name: STRONGROOM_KEYS_FOLDER, value: /var/lib/strongroom/keys}
{{- else if eq .provider "aws-kms" }}
- {name: STRONGROOM_KEYS_AWS_REGION, value: {{ .aws.region }}}
{{- with .aws.endpoint }}
- {name: STRONGROOM_KEYS_AWS_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- with .aws.sharedKey }}
- {name: STRONGROOM_KEYS_AWS_KEY, value: {{ . | quote }}}
{{- end }}
{{- if .aws.credentials.existingSecret }}
- {name: STRONGROOM_KEYS_AWS_ACCESS_KEY_FILE, value: /run/secrets/strongroom/kms-access-key}
- {name: STRONGROOM_KEYS_AWS_SECRET_KEY_FILE, value: /run/secrets/strongroom/kms-secret-key}
{{- end }}
{{- else if eq .provider "vault" }}
- {name: STRONGROOM_KEYS_VAULT_ADDRESS, value: {{ .vault.address | quote }}}
- {name: STRONGROOM_KEYS_VAULT_MOUNT, value: {{ .vault.mount | quote }}}
{{- with .vault.namespace }}
- {name: STRONGROOM_KEYS_VAULT_NAMESPACE, value: {{ . | quote }}}
{{- end }}
- {name: STRONGROOM_KEYS_VAULT_TOKEN_FILE, value: {{ .vault.tokenFile | default "/run/secrets/strongroom/vault-token" }}}
{{- if .vault.authority.existingSecret }}
- {name: STRONGROOM_KEYS_VAULT_AUTHORITY, value: /run/secrets/strongroom/vault-authority}
{{- end }}
{{- else }}
- {name: STRONGROOM_KEYS_PKCS11_MODULE, value: {{ .pkcs11.module | quote }}}
- {name: STRONGROOM_KEYS_PKCS11_TOKEN, value: {{ .pkcs11.token | quote }}}
- {name: STRONGROOM_KEYS_PKCS11_PIN_FILE, value: /run/secrets/strongroom/pkcs11-pin}
- {name: STRONGROOM_KEYS_PKCS11_COPYABLE, value: {{ ternary "yes" "no" .pkcs11.copyable | quote }}}
{{- end }}
{{- end -}}

{{- define "strongroom.keysSecrets" }}
{{- if and (eq .provider "aws-kms") .aws.credentials.existingSecret }}
- secret:
    name: {{ .aws.credentials.existingSecret }}
    items:
      - {key: {{ .aws.credentials.accessKey }}, path: kms-access-key}
      - {key: {{ .aws.credentials.secretKey }}, path: kms-secret-key}
{{- end }}
{{- if and (eq .provider "vault") (not .vault.tokenFile) }}
- secret:
    name: {{ .vault.token.existingSecret }}
    items: [{key: {{ .vault.token.key }}, path: vault-token}]
{{- end }}
{{- if and (eq .provider "vault") .vault.authority.existingSecret }}
- secret:
    name: {{ .vault.authority.existingSecret }}
    items: [{key: {{ .vault.authority.key }}, path: vault-authority}]
{{- end }}
{{- if eq .provider "pkcs11" }}
- secret:
    name: {{ .pkcs11.pin.existingSecret }}
    items: [{key: {{ .pkcs11.pin.key }}, path: pkcs11-pin}]
{{- end }}
{{- end -}}
