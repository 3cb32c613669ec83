{{/* What a schema cannot see: values that do not go together. Every problem at once, each with what to do about it. */}}
{{- define "portcullis.guards" -}}
{{- $v := .Values -}}
{{- $wrong := list -}}
{{- $issuers := dig "auth" "issuer" (list) $v.config -}}
{{- if not $issuers -}}
{{- $wrong = append $wrong "config.auth.issuer is empty: say whose tokens are believed, or nobody could ever connect." -}}
{{- end -}}
{{- if and (not $v.keys.existingSecret) (not $v.keys.generate) -}}
{{- $wrong = append $wrong "keys.existingSecret is not set: make the keys (deploy/secrets.sh), put cluster.key and naming.key into a Secret and name it; keys.generate=true makes them in the cluster, for trying out." -}}
{{- end -}}
{{- if and $v.keys.existingSecret $v.keys.generate -}}
{{- $wrong = append $wrong "keys.generate makes nothing where keys.existingSecret names a Secret: set one of them." -}}
{{- end -}}
{{- if and (eq $v.tls.mode "required") (not $v.tls.existingSecret) -}}
{{- $wrong = append $wrong "tls.existingSecret is not set, and tls.mode is \"required\": name a Secret of type kubernetes.io/tls, or let a proxy end TLS (tls.mode=upstream)." -}}
{{- end -}}
{{- if and (ne $v.tls.mode "required") $v.tls.existingSecret -}}
{{- $wrong = append $wrong (printf "tls.existingSecret is not used with tls.mode=%s: remove it." $v.tls.mode) -}}
{{- end -}}
{{- if and (eq $v.tls.mode "upstream") (not $v.gateway.listen.trustedProxies) -}}
{{- $wrong = append $wrong "gateway.listen.trustedProxies is empty, and tls.mode is \"upstream\": name the networks of the proxy that ends TLS." -}}
{{- end -}}
{{- if and (eq $v.tls.mode "off") (not $v.tls.insecure) -}}
{{- $wrong = append $wrong "tls.mode is \"off\": tokens would travel in the clear; tls.insecure=true allows it." -}}
{{- end -}}
{{- if and $v.gateway.listen.proxyProtocol (not $v.gateway.listen.trustedProxies) -}}
{{- $wrong = append $wrong "gateway.listen.trustedProxies is empty, and gateway.listen.proxyProtocol takes connections from trusted proxies only: name their networks." -}}
{{- end -}}
{{- if and $v.redis.inChart.enabled $v.redis.url -}}
{{- $wrong = append $wrong "redis.url and redis.inChart.enabled are two Redis: set one of them." -}}
{{- end -}}
{{- if and (not $v.redis.inChart.enabled) (not $v.redis.url) -}}
{{- $wrong = append $wrong "redis.url is empty: the nodes of a fleet share a Redis. Name one, or set redis.inChart.enabled=true." -}}
{{- end -}}
{{- if and (not $v.redis.inChart.enabled) (not $v.redis.existingSecret) $v.redis.username -}}
{{- $wrong = append $wrong "redis.username has no password: name its Secret in redis.existingSecret." -}}
{{- end -}}
{{- if regexMatch "^redis[a-z-]*://[^/]*@" $v.redis.url -}}
{{- $wrong = append $wrong "redis.url holds a user or password, and would stand in a ConfigMap: use redis.username and redis.existingSecret." -}}
{{- end -}}
{{- if and $v.redis.caFile (not (hasPrefix "rediss" $v.redis.url)) -}}
{{- $wrong = append $wrong "redis.caFile is for TLS, and redis.url does not begin with rediss." -}}
{{- end -}}
{{- range $n, $issuer := $issuers -}}
{{- if and (kindIs "map" $issuer) $issuer.secret -}}
{{- $wrong = append $wrong (printf "config.auth.issuer[%d].secret would stand in a ConfigMap: put it into a Secret, mount it by `files`, and say secret_file." $n) -}}
{{- end -}}
{{- end -}}
{{- if hasKey (default dict $v.config.session) "close_timeout" -}}
{{- $wrong = append $wrong "config.session.close_timeout is gateway.drain.close: the grace period is computed from it." -}}
{{- end -}}
{{- if gt (int $v.gateway.drain.spread) (int $v.gateway.drain.deadline) -}}
{{- $wrong = append $wrong "gateway.drain.spread is longer than gateway.drain.deadline: clients told to leave later would be cut off." -}}
{{- end -}}
{{- if and $v.gateway.autoscaling.enabled (gt (int $v.gateway.autoscaling.minReplicas) (int $v.gateway.autoscaling.maxReplicas)) -}}
{{- $wrong = append $wrong "gateway.autoscaling.minReplicas is more than maxReplicas." -}}
{{- end -}}
{{- $scaling := $v.gateway.autoscaling -}}
{{- if and $scaling.enabled (not $scaling.targetCPU) (not $scaling.targetMemory) (not $scaling.metrics) -}}
{{- $wrong = append $wrong "gateway.autoscaling.enabled scales by nothing: set targetCPU, targetMemory or metrics." -}}
{{- end -}}
{{- if and $v.ingress.enabled (eq $v.tls.mode "off") -}}
{{- $wrong = append $wrong "ingress.enabled needs tls.mode=upstream (the controller ends TLS; its pods' network in gateway.listen.trustedProxies) or \"required\" (it passes TLS on)." -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) -}}
{{- $wrong = append $wrong "ingress.hosts is empty." -}}
{{- end -}}
{{- if and $v.ingress.enabled $v.gateway.listen.proxyProtocol -}}
{{- $wrong = append $wrong "gateway.listen.proxyProtocol and ingress.enabled: controllers speak HTTP to their backends, without a PROXY header; use X-Forwarded-For." -}}
{{- end -}}
{{- range $file := $v.files -}}
{{- if and $file.secret $file.configMap -}}
{{- $wrong = append $wrong (printf "files: %s and %s in one entry: one source each." $file.secret $file.configMap) -}}
{{- end -}}
{{- end -}}
{{- if $wrong -}}
{{- fail (printf "\n\n%s\n" (join "\n" $wrong)) -}}
{{- end -}}
{{- end -}}
