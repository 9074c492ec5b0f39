{{/*
The pod of every part. Takes root, component, and what the part may do:
  role        of the database, one of migrator web worker dispatcher operator
  more        list of further roles of the database
  keys        true: gets the key store without the regions' credentials
  broker      true: gets the broker's URL
  storage     true: gets the regions' credentials and the key store
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
  seccompProfile: {type: RuntimeDefault}
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
      {{- if .role }}
      - {name: secrets, mountPath: /run/secrets/strongroom, readOnly: true}
      {{- end }}
      {{- if or .storage .keys }}
      - {name: keys, mountPath: /var/lib/strongroom/keys}
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
  {{- if .role }}
  - name: secrets
    projected:
      defaultMode: 0440
      sources:
        {{- include "strongroom.secrets" . | nindent 8 }}
  {{- end }}
  {{- if or .storage .keys }}
  - name: keys
    persistentVolumeClaim: {claimName: {{ $values.keyStore.existingClaim }}}
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
{{- range include "strongroom.roles" . | fromJsonArray }}
- {name: STRONGROOM_DATABASE_URL_{{ upper . }}_FILE, value: /run/secrets/strongroom/database-{{ . }}}
{{- end }}
{{- if .broker }}
- {name: STRONGROOM_BROKER_URL_FILE, value: /run/secrets/strongroom/broker}
{{- end }}
{{- if .storage }}
- {name: STRONGROOM_REGIONS_FILE, value: /run/secrets/strongroom/regions}
{{- end }}
{{- if or .storage .keys }}
- {name: STRONGROOM_KEYS_FOLDER, value: /var/lib/strongroom/keys}
{{- end }}
{{- if .work }}
- {name: STRONGROOM_WORK_FOLDER, value: /var/lib/strongroom/work}
{{- end }}
{{- with .root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "strongroom.secrets" -}}
{{- range include "strongroom.roles" . | fromJsonArray }}
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
{{- end }}
{{- end -}}
