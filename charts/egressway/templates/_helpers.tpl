{{- define "egressway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* A release may have dots and begin with a digit, a Service may not (RFC 1035). */ -}}
{{- define "egressway.fullname" -}}
{{- $release := .Release.Name | replace "." "-" }}
{{- $name := printf "%s-%s" $release (include "egressway.name" .) }}
{{- if .Values.fullnameOverride }}
{{- $name = .Values.fullnameOverride }}
{{- else if contains (include "egressway.name" .) $release }}
{{- $name = $release }}
{{- end }}
{{- regexReplaceAll "^([0-9])" $name "r${1}" | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "egressway.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: egressway
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "egressway.labels" -}}
app.kubernetes.io/name: egressway
{{ include "egressway.commonLabels" . }}
{{- end }}

{{- /* The name label is spelled in the programs as well: fleets let in what carries it. */ -}}
{{- define "egressway.operatorSelector" -}}
app.kubernetes.io/name: egressway-operator
app.kubernetes.io/instance: {{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "egressway.operatorLabels" -}}
app.kubernetes.io/name: egressway-operator
app.kubernetes.io/component: operator
{{ include "egressway.commonLabels" . }}
{{- end }}

{{- /* Hooks carry another name than the operator, so that no Service or policy takes their pods for it. */ -}}
{{- define "egressway.hookLabels" -}}
app.kubernetes.io/name: egressway-hook
app.kubernetes.io/component: hook
{{ include "egressway.commonLabels" . }}
{{- end }}

{{- /* Takes a dict of image and chart. */ -}}
{{- define "egressway.image" -}}
{{- $tag := default .chart.AppVersion .image.tag -}}
{{- if .image.digest -}}
{{ printf "%s:%s@%s" .image.repository $tag .image.digest }}
{{- else -}}
{{ printf "%s:%s" .image.repository $tag }}
{{- end -}}
{{- end }}

{{- define "egressway.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "egressway.securityContext" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The /48 of an IPv6 address. */ -}}
{{- define "egressway.site" -}}
{{- $halves := splitList "::" . -}}
{{- $groups := splitList ":" (first $halves) -}}
{{- if gt (len $halves) 1 -}}
{{- $groups = concat (compact $groups) (list "0" "0" "0") -}}
{{- $behind := compact (splitList ":" (last $halves)) -}}
{{- if gt (len $behind) 4 -}}
{{- /* So few zeros are left out that what follows them reaches into the first three groups. */ -}}
{{- $groups = compact (splitList ":" (first $halves)) -}}
{{- range until (int (sub 8 (add (len $groups) (len $behind)))) -}}
{{- $groups = append $groups "0" -}}
{{- end -}}
{{- $groups = concat $groups $behind -}}
{{- end -}}
{{- end -}}
{{- printf "%s::/48" (regexReplaceAll "(:0)+$" (slice $groups 0 3 | join ":") "") -}}
{{- end }}

{{- /* The ranges of the API server, a list under the key "ranges"; "any" in it is no range at all. Where Helm may ask
     the cluster: the endpoints of the Service kubernetes, one on a public IPv4 address as it is, any other with the
     network around it, in which a managed control plane may move: of a private IPv4 address the /16 (the largest VPC
     of AWS), of an IPv6 address the /48. Without a cluster: the private ranges. */ -}}
{{- define "egressway.apiServerRanges" -}}
{{- $ranges := list -}}
{{- range .Values.networkPolicy.apiServerCIDRs -}}
{{- $ranges = append $ranges . -}}
{{- end -}}
{{- if not $ranges -}}
{{- range (lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "").items -}}
{{- if eq (get (default dict .metadata.labels) "kubernetes.io/service-name") "kubernetes" -}}
{{- range .endpoints -}}
{{- range .addresses -}}
{{- if regexMatch "^(10|192[.]168|172[.](1[6-9]|2[0-9]|3[01])|100[.](6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7]))[.]" . -}}
{{- $ranges = append $ranges (regexReplaceAll "^([0-9]+[.][0-9]+)[.].*" . "${1}.0.0/16") -}}
{{- else if regexMatch "^[0-9.]+$" . -}}
{{- $ranges = append $ranges (printf "%s/32" .) -}}
{{- else -}}
{{- $ranges = append $ranges (include "egressway.site" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $ranges -}}
{{- $ranges = list "10.0.0.0/8" "100.64.0.0/10" "172.16.0.0/12" "192.168.0.0/16" "fc00::/7" -}}
{{- end -}}
{{- dict "ranges" ($ranges | uniq | sortAlpha) | toYaml -}}
{{- end }}

{{- /* Nothing here looks up names. */ -}}
{{- define "egressway.toApiServer" -}}
{{- $ranges := (include "egressway.apiServerRanges" . | fromYaml).ranges -}}
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - protocol: TCP
      port: {{ . }}
    {{- end }}
  {{- if not (has "any" $ranges) }}
  to:
    {{- range $ranges }}
    - ipBlock:
        cidr: {{ . | quote }}
    {{- end }}
  {{- end }}
{{- end }}

{{- /* The default pool, as the hook applies it. */ -}}
{{- define "egressway.defaultPool" -}}
apiVersion: egressway.dev/v1alpha1
kind: EgressPool
metadata:
  name: {{ .Values.defaultPool.name }}
  labels:
    {{- include "egressway.labels" . | nindent 4 }}
  annotations:
    egressway.dev/is-default-pool: "true"
spec:
  allowedNamespaces:
    {{- toYaml .Values.defaultPool.namespaces | nindent 4 }}
  cells:
    - name: {{ .Values.defaultPool.name | trunc 40 | trimSuffix "-" }}
      nodeSelector:
        {{- toYaml .Values.defaultPool.nodeSelector | nindent 8 }}
      {{- with .Values.defaultPool.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.defaultPool.addresses }}
      addresses:
        {{- toYaml . | nindent 8 }}
      {{- end }}
  {{- with .Values.defaultPool.observation }}
  {{- if .observers }}
  observation:
    observers:
      {{- toYaml .observers | nindent 6 }}
    {{- with .quorum }}
    {{- if gt (int .) (len $.Values.defaultPool.observation.observers) }}
    {{- fail "defaultPool.observation.quorum is larger than the number of observers: name more, or lower it" }}
    {{- end }}
    quorum: {{ . }}
    {{- end }}
    {{- with .interval }}
    interval: {{ . }}
    {{- end }}
    {{- with .onMismatch }}
    onMismatch: {{ . }}
    {{- end }}
  {{- end }}
  {{- end }}
{{- end }}

{{- /* The spec of a hook's Job: the operator's image with a subcommand. Takes a dict of root, account and args. */ -}}
{{- define "egressway.hookJob" -}}
{{- $root := .root -}}
backoffLimit: 3
activeDeadlineSeconds: 280
template:
  metadata:
    labels:
      {{- merge (include "egressway.hookLabels" $root | fromYaml) (default dict $root.Values.operator.podLabels) | toYaml | nindent 6 }}
    {{- with $root.Values.operator.podAnnotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    restartPolicy: Never
    serviceAccountName: {{ .account }}
    automountServiceAccountToken: true
    enableServiceLinks: false
    {{- with $root.Values.imagePullSecrets }}
    imagePullSecrets:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    securityContext:
      {{- include "egressway.podSecurityContext" $root | nindent 6 }}
    containers:
      - name: {{ first .args }}
        image: {{ include "egressway.image" (dict "image" $root.Values.operator.image "chart" $root.Chart) | quote }}
        imagePullPolicy: {{ $root.Values.operator.image.pullPolicy }}
        args:
          {{- toYaml .args | nindent 10 }}
        env:
          - name: RUST_LOG
            value: {{ $root.Values.operator.log | quote }}
        resources:
          {{- toYaml $root.Values.operator.resources | nindent 10 }}
        securityContext:
          {{- include "egressway.securityContext" $root | nindent 10 }}
    {{- with $root.Values.operator.nodeSelector }}
    nodeSelector:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $root.Values.operator.tolerations }}
    tolerations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $root.Values.operator.affinity }}
    affinity:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}
