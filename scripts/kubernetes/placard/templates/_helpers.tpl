{{/* Names, labels, and what is derived from values. */}}

{{/* Room is left for the 17 characters that a Pod's name has behind it: a replica is known by its Pod's name, of which
     the machine's name has 63 characters only. */}}
{{- define "placard.name" -}}
{{- $name := contains "placard" .Release.Name | ternary .Release.Name (printf "%s-placard" .Release.Name) -}}
{{- $name | trunc 46 | trimSuffix "-" -}}
{{- end -}}

{{- define "placard.selector" -}}
app.kubernetes.io/name: placard
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "placard.labels" -}}
{{ include "placard.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "placard.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "placard.port" -}}
{{- regexFind "[0-9]+$" (index .Values.options "listen") -}}
{{- end -}}

{{/* Seconds from SIGTERM to SIGKILL: the drain delay, 4.9 s for what is in progress and the last spans, 1 s for the
     log, and some to spare. */}}
{{- define "placard.grace" -}}
{{- add (ceil (divf (index .Values.options "drain-delay") 1000)) 10 -}}
{{- end -}}

{{- define "placard.replicasMax" -}}
{{- eq .Values.autoscaling.by "none" | ternary .Values.replicas .Values.autoscaling.maxReplicas | int -}}
{{- end -}}

{{/* Pods that have connections at once during a rolling upgrade: all, a new one, and old ones that are still stopping,
     of which one begins each minReadySeconds at most. */}}
{{- define "placard.podsMax" -}}
{{- $stopping := ceil (divf (include "placard.grace" .) .Values.minReadySeconds) | int -}}
{{- add (include "placard.replicasMax" .) 1 $stopping -}}
{{- end -}}

{{/* Connections to PostgreSQL, as docs/OPERATIONS.md counts them. */}}
{{- define "placard.connections" -}}
{{- add 20 (mul 9 (include "placard.podsMax" .)) -}}
{{- end -}}

{{/* The ports at the ends of host:port,... as a list. */}}
{{- define "placard.sentinelPorts" -}}
{{- $ports := list -}}
{{- range splitList "," (index .Values.options "redis-sentinel" | default "") -}}
{{- with regexFind "[0-9]+$" (trim .) -}}
{{- $ports = append $ports (int .) -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}

{{/* The port of a URL. */}}
{{- define "placard.urlPort" -}}
{{- $url := urlParse . -}}
{{- $own := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $own | default (eq $url.scheme "https" | ternary 443 80) -}}
{{- end -}}

{{/* A rule of egress, from a dict of ports and to. */}}
{{- define "placard.egress" -}}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .to }}
  to: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* What fails here cannot be said by values.schema.json, because it is about several values. */}}
{{- define "placard.check" -}}
{{- $files := .Values.files -}}
{{- $options := .Values.options -}}
{{- $sentinels := index $options "redis-sentinel" -}}
{{- if gt (include "placard.port" . | int) 65535 -}}
{{- fail (printf "options.listen has the port %s, and the highest is 65535" (include "placard.port" .)) -}}
{{- end -}}
{{- if not (index $files "postgres-url-file") -}}
{{- fail "files.postgres-url-file is missing: name the Secret and the key that have PostgreSQL's URL" -}}
{{- end -}}
{{- if and (index $files "redis-url-file") $sentinels -}}
{{- fail "files.redis-url-file and options.redis-sentinel exclude each other: set one of them to null" -}}
{{- end -}}
{{- if not (or (index $files "redis-url-file") $sentinels) -}}
{{- fail "files.redis-url-file is missing: name the Secret and the key that have Redis' URL, or set options.redis-sentinel" -}}
{{- end -}}
{{- if ne (empty $sentinels) (empty (index $options "redis-master")) -}}
{{- fail "options.redis-sentinel and options.redis-master need each other" -}}
{{- end -}}
{{- if not $sentinels -}}
{{- range list "redis-user" "redis-database" "redis-sentinel-user" -}}
{{- if not (kindIs "invalid" (index $options .)) -}}{{- fail (printf "options.%s is for a Redis behind Sentinels: set options.redis-sentinel, or put it into the URL" .) -}}{{- end -}}
{{- end -}}
{{- range list "redis-password-file" "redis-sentinel-password-file" -}}
{{- if index $files . -}}{{- fail (printf "files.%s is for a Redis behind Sentinels: set options.redis-sentinel, or put the password into the URL" .) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if ne (empty (index $files "redis-cert-file")) (empty (index $files "redis-key-file")) -}}
{{- fail "files.redis-cert-file and files.redis-key-file need each other" -}}
{{- end -}}
{{- if and (index $files "admin-token-file") $options.insecure -}}
{{- fail "files.admin-token-file and options.insecure exclude each other: set one of them to null" -}}
{{- end -}}
{{- if not (or (index $files "admin-token-file") $options.insecure) -}}
{{- fail "files.admin-token-file is missing: name the Secret and the key that have the tokens of clients that may write, or set options.insecure" -}}
{{- end -}}
{{- range $name, $secret := .Values.extraSecrets -}}
{{- if hasKey $files (printf "%s-file" $name) -}}
{{- fail (printf "extraSecrets.%s would be mounted where files.%s-file is: choose another name" $name $name) -}}
{{- end -}}
{{- end -}}
{{- with .Values.autoscaling -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail (printf "autoscaling.minReplicas is %d, and autoscaling.maxReplicas only %d" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- if and (eq .by "cpu") (not (dig "requests" "cpu" "" $.Values.resources)) -}}
{{- fail "autoscaling.by is cpu, and counts in resources.requests.cpu, which is missing" -}}
{{- end -}}
{{- if and (eq .by "requests") (not .prometheusUrl) -}}
{{- fail "autoscaling.by is requests, and needs autoscaling.prometheusUrl, such as http://prometheus.monitoring:9090" -}}
{{- end -}}
{{- end -}}
{{- with .Values.postgres.maxConnections -}}
{{- $needed := include "placard.connections" $ | int -}}
{{- if gt $needed (int .) -}}
{{- fail (printf "up to %s Pods need %d connections to PostgreSQL (20 + 9 for each), and postgres.maxConnections is %d: allow more there, or use fewer replicas" (include "placard.podsMax" $) $needed (int .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Up at once, and down one at a time when it has been quiet. */}}
{{- define "placard.behavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - {type: Percent, value: 100, periodSeconds: 15}
    - {type: Pods, value: 4, periodSeconds: 15}
  selectPolicy: Max
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.quietSeconds }}
  policies:
    - {type: Pods, value: 1, periodSeconds: 60}
{{- end -}}
