{{/* Whose it is. Names and selectors are those of config/default whatever the release
is called: there is one installation in a cluster, and one made by kubectl can be adopted. */}}
{{- define "sgp.labels" -}}
app.kubernetes.io/name: sgp-operator
app.kubernetes.io/part-of: sgp-operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "sgp.selector" -}}
app.kubernetes.io/name: sgp-operator
app.kubernetes.io/component: manager
{{- end }}

{{- define "sgp.subject" -}}
- kind: ServiceAccount
  name: {{ .Values.serviceAccount.name }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- define "sgp.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* A file of the chart as objects: what config/ holds, with our labels. Takes root and
file; returns JSON, for fromJsonArray. */}}
{{- define "sgp.objects" -}}
{{- $objects := list }}
{{- range splitList "---\n" (.root.Files.Get .file) }}
{{- $object := fromYaml . }}
{{- with $object.Error }}{{ fail (printf "%s: %s" $.file .) }}{{ end }}
{{- if $object.kind }}
{{- $labels := include "sgp.labels" $.root | fromYaml }}
{{- $_ := set $object.metadata "labels" (merge $labels ($object.metadata.labels | default dict)) }}
{{- if $object.metadata.namespace }}{{ $_ := set $object.metadata "namespace" $.root.Release.Namespace }}{{ end }}
{{- $objects = append $objects $object }}
{{- end }}
{{- end }}
{{- toJson $objects }}
{{- end }}

{{/* The flags of every manager, as a list in JSON. */}}
{{- define "sgp.flags" -}}
{{- $flags := list }}
{{- if .Values.leaderElection.enabled }}
{{- $flags = list "--leader-elect" "--leader-election-namespace=$(POD_NAMESPACE)" }}
{{- else if gt (int .Values.replicas) 1 }}
{{- fail "leaderElection.enabled: false allows one replica only: set replicas to 1" }}
{{- end }}
{{- $flags = concat $flags (list "--metrics-bind-address=:8443" "--health-probe-bind-address=:8081") }}
{{- $m := .Values.manager }}
{{- range $flag, $value := dict
      "ecs-endpoint" $m.ecsEndpoint "sts-endpoint" $m.stsEndpoint "extra-regions" (join "," $m.extraRegions)
      "ecs-qps" $m.ecsQPS "ecs-burst" (int $m.ecsBurst) "ecs-timeout" $m.ecsTimeout "resync-interval" $m.resyncInterval
      "max-concurrent-reconciles" (int $m.maxConcurrentReconciles) "change-budget" (int $m.changeBudget) "secret-namespaces" (join "," $m.secretNamespaces)
      "lend-own-credentials" $m.lendOwnCredentials "instance-role" $m.instanceRole "zap-log-level" $m.logLevel }}
{{- if $value }}{{ $flags = append $flags (printf "--%s=%v" $flag $value) }}{{ end }}
{{- end }}
{{- if not .Values.metrics.secure }}{{ $flags = append $flags "--metrics-secure=false" }}{{ end }}
{{- toJson $flags }}
{{- end }}

{{/* All managers, as a list in JSON: name, lease, replicas, and the flags that say which
resources each owns. */}}
{{- define "sgp.managers" -}}
{{- $m := .Values.manager }}
{{- $selector := $m.watchLabelSelector }}
{{- $managers := list }}
{{- $names := list }}
{{- range .Values.shards }}
{{- $names = append $names .name }}
{{- $own := .watchLabelSelector | default "" }}
{{- if not (or $own .watchNamespaces) }}
{{- $own = printf "ecs.alibabacloud.com/shard=%s" .name }}
{{- else if not (or $m.watchLabelSelector $m.watchNamespaces) }}
{{- fail (printf "shards: %s says itself what it owns: say by manager.watchLabelSelector or manager.watchNamespaces what is left for the first manager" .name) }}
{{- end }}
{{- $managers = append $managers (dict "name" (printf "sgp-manager-%s" .name) "service" (printf "sgp-manager-metrics-%s" .name)
      "lease" (printf "sgp-operator-%s" .name) "replicas" (hasKey . "replicas" | ternary .replicas $.Values.replicas)
      "selector" $own "namespaces" (.watchNamespaces | default list) "args" (.extraArgs | default list)) }}
{{- end }}
{{- if ne (len $names) (len (uniq $names)) }}{{ fail "shards: two have the same name" }}{{ end }}
{{- if and $names (not (or $selector $m.watchNamespaces)) }}
{{- $selector = printf "ecs.alibabacloud.com/shard notin (%s)" (join "," $names) }}
{{- end }}
{{- $first := dict "name" "sgp-manager" "service" "sgp-manager-metrics" "lease" "sgp-operator" "replicas" .Values.replicas
      "selector" $selector "namespaces" $m.watchNamespaces "args" list }}
{{- toJson (prepend $managers $first) }}
{{- end }}
