{{/*
The pod of every part. Takes root, component, and what the part may do:
  roles       of the database: a list out of migrator web worker dispatcher people operator dumper
  keys        true: gets what opens secrets, without the regions' credentials
  broker      true: gets the broker's URL
  storage     true: gets the regions' credentials, the key store and the key that signs records
  settings    variables that are no secrets: name without STRONGROOM_ to value
  files       secrets that are read from files: name without STRONGROOM_ to secret and key
  packs       true: gets the deployment's own policy packs
  work        size of a folder for caches and scratch space
  args        of the program; or command, to replace it
  container   more of the container (ports, probes, resources), as YAML
*/}}
{{- define "strongroom.podMetadata" -}}
labels:
  {{- include "strongroom.labels" . | nindent 2 }}
{{- with .root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "strongroom.podSpec" -}}
{{- $values := .root.Values -}}
serviceAccountName: {{ .serviceAccount | default (include "strongroom.serviceAccount" .root) }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    {{- toYaml $values.seccompProfile | nindent 4 }}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .graceSeconds }}
terminationGracePeriodSeconds: {{ . }}
{{- end }}
{{- if .spread }}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "strongroom.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
containers:
  - name: {{ .name | default .component }}
    image: {{ include "strongroom.image" .root }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    {{- with .command }}
    command: {{ toJson . }}
    {{- end }}
    {{- with .args }}
    args: {{ toJson . }}
    {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      runAsNonRoot: true
      capabilities: {drop: [ALL]}
    {{- with .container }}
    {{- . | nindent 4 }}
    {{- end }}
    env:
      {{- include "strongroom.environment" . | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- if .roles }}
      - {name: secrets, mountPath: /run/secrets/strongroom, readOnly: true}
      {{- end }}
      {{- if and (or .storage .keys) (eq $values.keys.provider "local") }}
      - {name: keys, mountPath: /var/lib/strongroom/keys}
      {{- end }}
      {{- if and .packs $values.policyPacks.existingConfigMap }}
      - {name: packs, mountPath: /etc/strongroom/packs, readOnly: true}
      {{- end }}
      {{- if .work }}
      - {name: work, mountPath: /var/lib/strongroom/work}
      {{- end }}
      {{- with $values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: {{ $values.tmpSize }}}
  {{- if .roles }}
  - name: secrets
    projected:
      defaultMode: 0440
      sources:
        {{- include "strongroom.secrets" . | nindent 8 }}
  {{- end }}
  {{- if and (or .storage .keys) (eq $values.keys.provider "local") }}
  - name: keys
    persistentVolumeClaim: {claimName: {{ $values.keys.local.existingClaim }}}
  {{- end }}
  {{- if and .packs $values.policyPacks.existingConfigMap }}
  - name: packs
    configMap: {name: {{ $values.policyPacks.existingConfigMap }}}
  {{- end }}
  {{- with .work }}
  - name: work
    emptyDir: {sizeLimit: {{ . }}}
  {{- end }}
  {{- with $values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* All roles of the database that the part has, as JSON. */}}
{{- define "strongroom.roles" -}}
{{- compact (concat (list (.role | default "")) (.more | default list)) | toJson -}}
{{- end -}}

{{/* Secrets are files; the variables only say where. */}}
{{- define "strongroom.environment" -}}
- {name: STRONGROOM_WEB_ADDRESS, value: {{ include "strongroom.address" .root }}}
{{- range .roles }}
- {name: STRONGROOM_DATABASE_URL_{{ upper . }}_FILE, value: /run/secrets/strongroom/database-{{ . }}}
{{- end }}
{{- if .broker }}
- {name: STRONGROOM_BROKER_URL_FILE, value: /run/secrets/strongroom/broker}
{{- end }}
{{- if .storage }}
- {name: STRONGROOM_REGIONS_FILE, value: /run/secrets/strongroom/regions}
- {name: STRONGROOM_RECORD_KEY_FILE, value: /run/secrets/strongroom/record-key}
{{- end }}
{{- if or .storage .keys }}
{{- include "strongroom.keysEnvironment" .root.Values.keys }}
{{- end }}
{{- range $name, $value := .settings }}
- {name: STRONGROOM_{{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- range $name, $secret := .files }}
- {name: STRONGROOM_{{ $name }}_FILE, value: /run/secrets/strongroom/{{ lower $name }}}
{{- end }}
{{- if and .packs .root.Values.policyPacks.existingConfigMap }}
- {name: STRONGROOM_PACKS_FOLDER, value: /etc/strongroom/packs}
{{- end }}
{{- if .work }}
- {name: STRONGROOM_WORK_FOLDER, value: /var/lib/strongroom/work}
{{- end }}
{{- with .root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "strongroom.secrets" -}}
{{- range .roles }}
{{- $database := index $.root.Values.database . }}
- secret:
    name: {{ $database.existingSecret }}
    items: [{key: {{ $database.key }}, path: database-{{ . }}}]
{{- end }}
{{- if .broker }}
- secret:
    name: {{ .root.Values.broker.existingSecret }}
    items: [{key: {{ .root.Values.broker.key }}, path: broker}]
{{- end }}
{{- if .storage }}
- secret:
    name: {{ .root.Values.regions.existingSecret }}
    items: [{key: {{ .root.Values.regions.key }}, path: regions}]
- secret:
    name: {{ .root.Values.recordKey.existingSecret }}
    items: [{key: {{ .root.Values.recordKey.key }}, path: record-key}]
{{- end }}
{{- if or .storage .keys }}
{{- include "strongroom.keysSecrets" .root.Values.keys }}
{{- end }}
{{- range $name, $secret := .files }}
- secret:
    name: {{ $secret.existingSecret }}
    items: [{key: {{ $secret.key }}, path: {{ lower $name }}}]
{{- end }}
{{- end -}}
