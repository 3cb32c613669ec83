#!/bin/sh
# nginx with Nchan: /room/NAME is the room, everybody in it may publish, nothing is kept.
module=/usr/lib/nginx/modules/ngx_nchan_module.so
[ -e "$module" ] || { echo "libnginx-mod-nchan is not installed: scripts/bench-peers.sh" >&2; exit 75; }
mkdir -p "$FOLDER/nchan"
cat >"$FOLDER/nchan.conf" <<CONF
load_module $module;
daemon off;
master_process off;
worker_rlimit_nofile 20000;
pid $FOLDER/nchan/pid;
error_log $FOLDER/nchan/error.log;
events { worker_connections 19000; }
http {
  access_log off;
  client_body_temp_path $FOLDER/nchan/body;
  proxy_temp_path $FOLDER/nchan/proxy;
  fastcgi_temp_path $FOLDER/nchan/fastcgi;
  uwsgi_temp_path $FOLDER/nchan/uwsgi;
  scgi_temp_path $FOLDER/nchan/scgi;
  nchan_shared_memory_size 256M;
  server {
    listen 127.0.0.1:$PORT backlog=1024;
    location / { return 200 "ok"; }
    location ~ ^/room/(.+)\$ {
      nchan_pubsub websocket;
      nchan_channel_id \$1;
      nchan_store_messages off;
    }
  }
}
CONF
exec /usr/sbin/nginx -c "$FOLDER/nchan.conf"
